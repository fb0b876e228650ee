//! Reading a tool's client certificate and authority.

use crate::diagnostic::Code;
use crate::model::Tls;
use crate::reader::{Fields, Reader};
use crate::template::UrlTemplate;
use crate::tool::auth::secret_name;

/// `tls`: the names of two secrets, one at least.
pub(super) fn tls(reader: &mut Reader<'_>, fields: &Fields<'_>, url: Option<&UrlTemplate>) -> Option<Tls> {
    let entry = fields.entry("tls")?;
    let path = fields.path_of("tls");
    let tls = reader.table(&entry.node, &path, &["secret", "ca"])?;
    let secret = reader.optional(&tls, "secret");
    let ca = reader.optional(&tls, "ca");
    for found in [&secret, &ca].into_iter().flatten() {
        secret_name(reader, found);
    }
    if tls.entry("secret").is_none() && tls.entry("ca").is_none() {
        let message =
            format!("{path} has no secret, with the certificate to show, and no ca, with the authority to trust");
        reader.error(Code::MissingKey, &tls.path_of("secret"), tls.at, message);
    }
    if url.is_some_and(|url| !url.origin().starts_with("https:")) {
        let message = format!("{path} is set, but the URL does not begin with https://");
        reader.error(Code::KeyNotAllowed, &path, entry.key_at, message);
    }
    let name = |found: Option<crate::reader::Found<'_>>| found.map(|found| found.value().to_owned());
    Some(Tls { secret: name(secret), ca: name(ca) })
}
