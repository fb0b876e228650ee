//! What came of a document: declarations in groups, what they do not say, and the text of it all.

use std::collections::{BTreeMap, BTreeSet};

use clawbridge_config::{MAX_DOCUMENT_BYTES, MAX_TOOLS, Severity, check};

use crate::declaration::Declaration;
use crate::options::Options;
use crate::problem::{Code, Note, NoteCode, Problem, one_line};
use crate::secret::{SecretUse, collect};
use crate::toml;
use crate::words::explanation;

/// The most problems that are reported.
const MAX_PROBLEMS: usize = 20;

const EFFECTS: &str = "A tool's effect says what a repeated call does: read and idempotent are called again, keyed with the same \
    key, unsafe never without a person. It follows from the method; where you know better, change it.";

/// The declarations that were made of a document.
#[derive(Debug)]
pub struct Imported {
    title: String,
    kind: String,
    head: Vec<String>,
    groups: Vec<Group>,
    secrets: Vec<SecretUse>,
    notes: Vec<Note>,
}

/// Tools that belong together, in the order of the document.
#[derive(Debug, Default)]
struct Group {
    /// Empty for tools without a group.
    name: String,
    about: String,
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    Tool {
        name: String,
        text: String,
    },
    /// A comment in the place of an operation.
    LeftOut(String),
}

/// What [`Imported::append_to`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// What is to be written after the end of the document. Empty if there is nothing new.
    pub text: String,
    /// The tools that are in it.
    pub added: Vec<String>,
    /// The tools that the document has already, and keeps as they are.
    pub existing: Vec<String>,
}

impl Imported {
    /// The names of the tools, in their order.
    pub fn tools(&self) -> impl Iterator<Item = &str> {
        self.items().filter_map(|item| match item {
            Item::Tool { name, .. } => Some(name.as_str()),
            Item::LeftOut(_) => None,
        })
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.groups.iter().flat_map(|group| &group.items)
    }

    /// What the declarations do not say that the document says.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The names of the secrets that the tools need.
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.secrets.iter().map(|secret| secret.name.as_str()).collect();
        names.into_iter().collect()
    }

    /// The declarations as text for bridge.toml. The same document and options make the same bytes.
    #[must_use]
    pub fn to_toml(&self) -> String {
        self.text(|_| true, true)
    }

    /// The declarations that `document`, a bridge.toml, does not have yet.
    ///
    /// # Errors
    /// [`Code::Unusable`] if the document has errors, or would have with what is added.
    pub fn append_to(&self, document: &str) -> Result<Appended, Problem> {
        let valid = |text: &str, what: &str| {
            let (config, diagnostics) = check(text);
            let error = diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error);
            config.ok_or_else(|| {
                let error = error.map_or_else(String::new, |error| error.display("bridge.toml").to_string());
                Problem::new(Code::Unusable, "", format!("{what}: {error}"))
            })
        };
        let known = valid(document, "the document has errors, and nothing is added to it")?.tools;
        let (existing, added): (Vec<&str>, Vec<&str>) = self.tools().partition(|name| known.contains_key(*name));
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let text = match added[..] {
            [] => String::new(),
            _ => {
                let gap = if document.is_empty() || document.ends_with("\n\n") {
                    ""
                } else if document.ends_with('\n') {
                    "\n"
                } else {
                    "\n\n"
                };
                format!("{gap}{}", self.text(|name| !known.contains_key(name), false))
            }
        };
        valid(
            &format!("{document}{text}"),
            "the document would have errors with these tools, and nothing is added to it",
        )?;
        Ok(Appended { text, added: owned(added), existing: owned(existing) })
    }

    fn text(&self, takes: impl Fn(&str) -> bool, with_left_out: bool) -> String {
        let mut out = String::new();
        let count = self.tools().filter(|name| takes(name)).count();
        toml::comment(
            &mut out,
            &format!(
                "{}: {} of {}, made by `clawbridge tools import` and yours to edit.",
                self.title,
                counted(count, "tool"),
                self.kind
            ),
        );
        toml::comment(&mut out, EFFECTS);
        self.head.iter().for_each(|line| toml::comment(&mut out, line));
        if !self.secrets.is_empty() {
            toml::comment(&mut out, "Secrets, set with `clawbridge secret set NAME`:");
            self.secrets.iter().flat_map(SecretUse::lines).for_each(|line| toml::comment(&mut out, &line));
        }
        for group in &self.groups {
            let texts: Vec<&str> = group
                .items
                .iter()
                .filter_map(|item| match item {
                    Item::Tool { name, text } => takes(name).then_some(text.as_str()),
                    Item::LeftOut(text) => with_left_out.then_some(text.as_str()),
                })
                .collect();
            if texts.is_empty() {
                continue;
            }
            // Without groups there is nothing to be told apart from.
            if self.groups.len() > 1 {
                out.push('\n');
                let name = if group.name.is_empty() { "without a tag" } else { &group.name };
                let about = explanation(&group.about, 200);
                let about = if about.is_empty() { about } else { format!(": {about}") };
                toml::comment(&mut out, &format!("---- {}{about} ----", explanation(name, 60)));
            }
            for text in texts {
                out.push('\n');
                out.push_str(text);
            }
        }
        out
    }

    /// What a person is told: how many tools, what was left out, how much could not be said.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let mut lines = vec![format!("{} from {}, {}", counted(self.tools().count(), "tool"), self.title, self.kind)];
        let mut counts: BTreeMap<NoteCode, usize> = BTreeMap::new();
        self.notes.iter().for_each(|note| *counts.entry(note.code).or_default() += 1);
        for (code, count) in &counts {
            let what = match code {
                NoteCode::Deprecated => "deprecated operations left out; --deprecated takes them",
                NoteCode::Operation => "operations left out that a tool cannot be",
                NoteCode::Broken => "operations left out that the document breaks",
                NoteCode::Parameter => "parameters not sent, or not in full",
                NoteCode::Renamed => "parameters whose field is called otherwise, as the name was taken",
                NoteCode::Body => "bodies not sent, or not as described",
                NoteCode::Security => "credentials sent otherwise, or not at all",
                NoteCode::Schema => "schemas that say less than the document's",
                NoteCode::Scalar => "custom scalars taken as anything",
                NoteCode::Selection => "answers of which not all is asked for",
                NoteCode::Document => "parts of the document that are not for tools",
            };
            lines.push(format!("{code} {count}: {what}"));
        }
        for note in self.notes.iter().filter(|note| note.code == NoteCode::Broken).take(MAX_PROBLEMS) {
            lines.push(format!("{}: {}", note.operation, note.message));
        }
        if self.to_toml().len() > MAX_DOCUMENT_BYTES {
            let limit = MAX_DOCUMENT_BYTES / 1024;
            lines.push(format!("together they are longer than the {limit} KiB that a bridge.toml can have: import fewer, or shorter schemas"));
        }
        lines
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Collects what comes of a document.
pub(crate) struct Builder<'o> {
    options: &'o Options,
    imported: Imported,
    problems: Vec<Problem>,
    is_any_taken: bool,
}

impl<'o> Builder<'o> {
    pub(crate) fn new(title: String, kind: String, options: &'o Options) -> Self {
        let title = explanation(&title, 120);
        let imported = Imported {
            title,
            kind,
            head: Vec::new(),
            // The last group is of tools without one.
            groups: vec![Group::default()],
            secrets: Vec::new(),
            notes: Vec::new(),
        };
        Builder { options, imported, problems: Vec::new(), is_any_taken: false }
    }

    /// A line for the head.
    pub(crate) fn head(&mut self, line: String) {
        self.imported.head.push(explanation(&line, 200));
    }

    pub(crate) fn document_note(&mut self, code: NoteCode, message: String) {
        self.head(message.clone());
        self.imported.notes.push(Note { code, operation: String::new(), message });
    }

    /// A group, after those that there are.
    pub(crate) fn group(&mut self, name: &str, about: &str) {
        let group = Group { name: name.to_owned(), about: about.to_owned(), items: Vec::new() };
        let last = self.imported.groups.len() - 1;
        self.imported.groups.insert(last, group);
    }

    pub(crate) fn deprecated(&mut self, operation: &str) {
        let message = "deprecated".to_owned();
        self.imported.notes.push(Note { code: NoteCode::Deprecated, operation: operation.to_owned(), message });
    }

    /// Whether as many tools as these can be declared: they are given by their tags.
    ///
    /// # Errors
    /// [`Code::NothingSelected`], [`Code::TooManyTools`]
    pub(crate) fn bound<'t>(&mut self, tags: impl Iterator<Item = &'t str>) -> Result<(), Problem> {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        let mut index: BTreeMap<&str, usize> = BTreeMap::new();
        let mut all = 0;
        for tag in tags {
            all += 1;
            let at = *index.entry(tag).or_insert_with(|| {
                counts.push((tag, 0));
                counts.len() - 1
            });
            counts[at].1 += 1;
        }
        self.is_any_taken = all > 0;
        if all == 0 {
            let deprecated = self.imported.notes.iter().filter(|note| note.code == NoteCode::Deprecated).count();
            let why = match deprecated {
                0 => "no operation of the document matches --only, --tag and --operation, or it has none".to_owned(),
                count => {
                    format!("{}, and nothing else, deprecated: --deprecated takes them", counted(count, "operation"))
                }
            };
            return Err(Problem::new(Code::NothingSelected, "", why));
        }
        if all > MAX_TOOLS {
            let shown: Vec<String> =
                counts.iter().take(15).map(|(tag, count)| format!("{} ({count})", one_line(tag, 40))).collect();
            let more = if counts.len() > shown.len() { ", …" } else { "" };
            let message = format!(
                "{all} operations, and a bridge.toml has {MAX_TOOLS} tools: select some with --tag, --only or --operation. \
                 Tags: {}{more}",
                shown.join(", ")
            );
            return Err(Problem::new(Code::TooManyTools, "", message));
        }
        Ok(())
    }

    fn place(&mut self, group: Option<usize>) -> &mut Vec<Item> {
        let last = self.imported.groups.len() - 1;
        &mut self.imported.groups[group.map_or(last, |group| group.min(last))].items
    }

    pub(crate) fn tool(
        &mut self,
        group: Option<usize>,
        operation: &str,
        pointer: &str,
        mut declaration: Declaration,
        used: Option<SecretUse>,
    ) {
        let text = match declaration.usable_text(pointer) {
            Ok(text) => text,
            Err(problem) => return self.broken(group, operation, problem),
        };
        for (code, message) in &declaration.notes {
            let note = Note { code: *code, operation: operation.to_owned(), message: message.clone() };
            self.imported.notes.push(note);
        }
        if let Some(used) = used {
            collect(&mut self.imported.secrets, used);
        }
        self.place(group).push(Item::Tool { name: declaration.name, text });
    }

    pub(crate) fn left_out(&mut self, group: Option<usize>, code: NoteCode, operation: &str, reason: &str) {
        let mut text = String::new();
        toml::comment(&mut text, &format!("{operation} is left out: {reason}."));
        self.place(group).push(Item::LeftOut(text));
        self.imported.notes.push(Note { code, operation: operation.to_owned(), message: one_line(reason, 400) });
    }

    pub(crate) fn broken(&mut self, group: Option<usize>, operation: &str, problem: Problem) {
        if self.options.skip_broken {
            self.left_out(group, NoteCode::Broken, operation, &format!("error[{}]: {}", problem.code, problem.message));
            // Where it is, is for the person who imports; bridge.toml is about the tools.
            if let Some(note) = self.imported.notes.last_mut() {
                note.message = problem.to_string();
            }
        } else if !self.problems.contains(&problem) && self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    pub(crate) fn finish(self) -> Result<Imported, Vec<Problem>> {
        if self.problems.is_empty() { Ok(self.imported) } else { Err(self.problems) }
    }
}
