//! What is imported, and how.

use clawbridge_config::Glob;

use crate::openapi::checked_server;
use crate::problem::{Code, Problem};
use crate::secret::full_name;

/// What of a document is imported, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only operations whose tool's name, id or path matches one of these patterns; `*` stands for anything. Empty: all.
    pub only: Vec<String>,
    /// Only operations with one of these tags. Of GraphQL the tags are `queries` and `mutations`. Empty: all.
    pub tags: Vec<String>,
    /// Only the operations with these ids; of GraphQL the names of fields. Empty: all.
    pub operations: Vec<String>,
    /// What the tools' names begin with.
    pub prefix: String,
    /// The name of the secret with the credential, with or without `clawbridge/tools/` before it. `None`: a name made of the API's.
    pub secret: Option<String>,
    /// What stands before the paths, instead of the document's servers; of GraphQL the whole address.
    pub server: Option<String>,
    /// Deprecated operations too.
    pub deprecated: bool,
    /// Schemas of outputs.
    pub output: bool,
    /// The longest schema, in characters.
    pub max_schema: usize,
    /// How many levels of objects a GraphQL document asks for.
    pub depth: usize,
    /// Leave an operation out that the document breaks, instead of importing nothing.
    pub skip_broken: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            only: Vec::new(),
            tags: Vec::new(),
            operations: Vec::new(),
            prefix: String::new(),
            secret: None,
            server: None,
            deprecated: false,
            output: true,
            max_schema: 8 * 1024,
            depth: 2,
            skip_broken: false,
        }
    }
}

/// What an operation is selected by.
pub(crate) struct Candidate<'a> {
    pub(crate) tool: &'a str,
    pub(crate) id: Option<&'a str>,
    pub(crate) path: Option<&'a str>,
    pub(crate) tags: &'a [&'a str],
}

impl Options {
    /// The options in one form, or what cannot be one.
    pub(crate) fn checked(&self) -> Result<Options, Problem> {
        let wrong = |message: String| Problem::new(Code::InvalidOption, "", message);
        let mut options = self.clone();
        let is_prefix = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !is_prefix(&self.prefix) || self.prefix.len() > 32 {
            return Err(wrong("a prefix has up to 32 letters, digits, - and _".to_owned()));
        }
        if let Some(secret) = &self.secret {
            options.secret = Some(full_name(secret).map_err(wrong)?);
        }
        if let Some(server) = &self.server {
            checked_server(server).map_err(|message| wrong(format!("the server: {message}")))?;
        }
        options.depth = self.depth.clamp(1, 6);
        Ok(options)
    }

    pub(crate) fn takes(&self, candidate: &Candidate<'_>) -> bool {
        let is_named = |pattern: &String| {
            let glob = Glob::new(pattern);
            let names = [Some(candidate.tool), candidate.id, candidate.path];
            names.into_iter().flatten().any(|name| glob.matches(name))
        };
        let has_tag = |tag: &String| candidate.tags.iter().any(|own| own.eq_ignore_ascii_case(tag));
        (self.only.is_empty() || self.only.iter().any(is_named))
            && (self.tags.is_empty() || self.tags.iter().any(has_tag))
            && (self.operations.is_empty() || self.operations.iter().any(|id| candidate.id == Some(id)))
    }
}
