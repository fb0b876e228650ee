//! Versions of the protocol. Pure. <https://modelcontextprotocol.io/specification/versioning>

/// A version that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// `2025-03-26`: the first with streamable HTTP, the only one with batches.
    March2025,
    /// `2025-06-18`: structured results, the header `MCP-Protocol-Version`.
    June2025,
    /// `2025-11-25`
    November2025,
}

impl Version {
    /// All of them, the oldest first.
    pub(crate) const ALL: [Version; 3] = [Version::March2025, Version::June2025, Version::November2025];

    /// The newest.
    pub(crate) const LATEST: Version = Version::November2025;

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Version::March2025 => "2025-03-26",
            Version::June2025 => "2025-06-18",
            Version::November2025 => "2025-11-25",
        }
    }

    fn parse(text: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// What `initialize` answers a client that asks for `wanted`: that, or the newest, which the client may decline.
    pub(crate) fn negotiate(wanted: &str) -> Version {
        Version::parse(wanted).unwrap_or(Version::LATEST)
    }

    /// The version of a request by its header. Without one it is that of clients which did not have it yet.
    ///
    /// # Errors
    /// What to tell the client.
    pub(crate) fn of_header(header: Option<&str>) -> Result<Version, String> {
        let Some(header) = header else { return Ok(Version::March2025) };
        Version::parse(header.trim()).ok_or_else(|| {
            let known: Vec<&str> = Version::ALL.into_iter().map(Version::as_str).collect();
            format!("MCP-Protocol-Version names a version that is not spoken here; spoken are {}", known.join(", "))
        })
    }

    /// Whether several messages may come in an array.
    pub(crate) fn has_batches(self) -> bool {
        self == Version::March2025
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_spoken_is_taken_and_for_any_other_the_newest_is_offered() {
        for (wanted, expected) in [
            ("2025-11-25", "2025-11-25"),
            ("2025-06-18", "2025-06-18"),
            ("2025-03-26", "2025-03-26"),
            ("2024-11-05", "2025-11-25"),
            ("2099-01-01", "2025-11-25"),
            ("", "2025-11-25"),
        ] {
            assert_eq!(Version::negotiate(wanted).as_str(), expected, "{wanted}");
        }
    }

    #[test]
    fn a_header_names_a_version_that_is_spoken_or_is_refused_and_none_is_the_oldest() {
        assert_eq!(Version::of_header(None), Ok(Version::March2025));
        assert_eq!(Version::of_header(Some(" 2025-06-18 ")), Ok(Version::June2025));
        for header in ["", "2024-11-05", "2025-06", "latest"] {
            assert!(Version::of_header(Some(header)).is_err(), "{header}");
        }
        assert_eq!(Version::ALL.map(Version::has_batches), [true, false, false]);
    }
}
