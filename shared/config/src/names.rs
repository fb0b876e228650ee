//! Names that tools and providers write alike: those of secrets, and of hosts that are this machine.

use crate::diagnostic::Code;
use crate::header;
use crate::reader::{Found, Reader};

/// Report what is not the name of a secret below `below`, where those of `whose` lie.
pub(crate) fn secret(reader: &mut Reader<'_>, found: &Found<'_>, below: &str, whose: &str) {
    let name = found.value();
    let is_name = |rest: &str| {
        !rest.is_empty()
            && name.len() <= 256
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte))
    };
    if header::looks_like_a_secret(name) {
        let message = format!("{} is the name of a secret, and this looks like a secret itself", found.path);
        reader.error(Code::SecretInConfig, &found.path, found.at, message).suggestion = Some(format!(
            "put it in a secret called {below}NAME, and write that name here; it is public now, so replace it"
        ));
    } else if !name.strip_prefix(below).is_some_and(is_name) {
        // Not repeated: somebody may have written the secret where its name belongs.
        let message = format!("{} must be the name of a secret of {whose}: {below}NAME", found.path);
        reader.error(Code::InvalidSecretName, &found.path, found.at, message);
    }
}

/// Whether the origin of an address, `http://127.0.0.1:8080`, is this machine.
pub(crate) fn is_loopback(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").unwrap_or(origin);
    let host = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    let host = host.unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_host_alone() {
        for (origin, expected) in [
            ("http://localhost:8080", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:80", true),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(origin), expected, "{origin}");
        }
    }
}
