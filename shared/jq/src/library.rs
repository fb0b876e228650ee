//! The functions that a program can call: the interpreter's libraries without what is not pure, and with bounds.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use jaq_core::load::parse::Def;
use jaq_core::native::{Fun, v};
use jaq_core::{Cv, Error, Exn, Native, ValXs};
use jaq_json::Val;
use jaq_std::ValT as _;

use crate::guard::{Kind, ticks, watch_library};
use crate::value::MAX_INPUT_DEPTH;

/// What is left out, each with the reason that a person is told.
const LEFT_OUT: [(&str, &str); 20] = [
    ("now", NO_CLOCK),
    ("localtime", NO_CLOCK),
    ("strflocaltime", NO_CLOCK),
    ("env", NO_ENVIRONMENT),
    ("$ENV", NO_ENVIRONMENT),
    ("$__prog_args", NO_ENVIRONMENT),
    ("debug", NO_LOG),
    ("stderr", NO_LOG),
    ("debug_empty", NO_LOG),
    ("stderr_empty", NO_LOG),
    ("halt", NO_HALT),
    ("halt_error", NO_HALT),
    ("input", NO_INPUTS),
    ("inputs", NO_INPUTS),
    ("input_filename", NO_INPUTS),
    ("input_line_number", NO_INPUTS),
    ("import", NO_MODULES),
    ("include", NO_MODULES),
    ("modulemeta", NO_MODULES),
    ("get_search_list", NO_MODULES),
];

const NO_CLOCK: &str = "a program has no clock and no time zone, so that the same event always makes the same task; use a time from the event";
const NO_ENVIRONMENT: &str = "a program has no environment, so that it means the same everywhere";
const NO_LOG: &str = "a program cannot write to the log";
const NO_HALT: &str = "a program cannot end the process; use error(\"...\") or empty";
const NO_INPUTS: &str = "a program has one input, which is `.`";
const NO_MODULES: &str = "a program cannot load modules";

/// Natives of the interpreter that have a bounded form here.
const REPLACED: [&str; 2] = ["range", "fromjson"];

/// Definitions of the interpreter that have a bounded form in [`BOUNDED_DEFS`].
const REDEFINED: [&str; 3] = ["getpath", "setpath", "delpaths"];

/// Long paths nest the interpreter as deep as they are long, and a path can come out of the input.
const BOUNDED_DEFS: &str = r#"
def bounded_path: if length > 128 then error("a path of more than 128 steps") else . end;
def getpath($path): reduce ($path | bounded_path)[] as $step (.; .[$step]);
def setpath($path; $value): getpath($path) = $value;
def delpaths($paths): reduce $paths[] as $path (.; getpath($path) |= empty);
"#;

/// Why the function or variable of this name does not exist here, if it is one that jq has.
pub(crate) fn reason_left_out(name: &str) -> Option<&'static str> {
    LEFT_OUT.iter().find(|(left_out, _)| *left_out == name).map(|(_, reason)| *reason)
}

/// The definitions of the library that a program needs which calls functions of these names.
pub(crate) fn defs(called: &BTreeSet<String>) -> Vec<Def<&'static str>> {
    static DEFS: LazyLock<Vec<(Def<&'static str>, BTreeSet<String>)>> = LazyLock::new(|| {
        let given = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let given = given.filter(|def| reason_left_out(def.name).is_none() && !REDEFINED.contains(&def.name));
        // Nothing in the libraries calls them, so they can come last and use all the rest.
        let bounded = jaq_core::load::parse(BOUNDED_DEFS, |parser| parser.defs()).unwrap_or_default();
        let watched = given.chain(bounded).map(|mut def| {
            let calls = watch_library(&mut def).calls;
            (def, calls)
        });
        watched.collect()
    });
    // A definition sees only those before it. So from the last to the first, whatever is needed is known when its turn comes.
    let mut needed: BTreeSet<&str> = called.iter().map(String::as_str).collect();
    let mut defs = Vec::new();
    for (def, calls) in DEFS.iter().rev() {
        if needed.contains(def.name) {
            needed.extend(calls.iter().map(String::as_str));
            defs.push(def.clone());
        }
    }
    defs.reverse();
    defs
}

/// All native functions of the library.
pub(crate) fn natives() -> impl Iterator<Item = Fun<Kind>> {
    let given = jaq_core::funs::<Kind>().chain(jaq_std::funs::<Kind>()).chain(jaq_json::funs::<Kind>());
    let given = given.filter(|(name, ..)| reason_left_out(name).is_none() && !REPLACED.contains(name));
    let bounded: [Fun<Kind>; 2] =
        [("range", v(3), Native::<Kind>::new(range)), ("fromjson", v(0), Native::<Kind>::new(from_json))];
    given.chain(bounded).chain(ticks())
}

/// `range($from; $to; $by)`, where every value is a step.
fn range<'a>(mut cv: Cv<'a, Kind>) -> ValXs<'a, Val> {
    let (by, to, from) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
    let meter = cv.0.data().meter;
    let direction = by.cmp(&Val::from(0_isize));
    let mut next = Some(Ok(from));
    Box::new(std::iter::from_fn(move || {
        let value = match next.take()? {
            Ok(value) => value,
            Err(error) => return Some(Err(Exn::from(error))),
        };
        let is_inside = match direction {
            Ordering::Greater => value < to,
            Ordering::Less => value > to,
            Ordering::Equal => value != to,
        };
        if !is_inside {
            return None;
        }
        if let Err(end) = meter.step(&value) {
            return Some(Err(end));
        }
        next = Some(value.clone() + by.clone());
        Some(Ok(value))
    }))
}

/// `fromjson` for text of any origin: the parser recurses, so what nests too deeply does not reach it.
fn from_json<'a>((_, value): Cv<'a, Kind>) -> ValXs<'a, Val> {
    let fail = |why: &dyn std::fmt::Display| {
        let mut message = String::from("cannot parse text as JSON: ");
        let _ = write!(message, "{why}");
        Err(Exn::from(Error::str(message)))
    };
    let Some(text) = value.as_utf8_bytes() else {
        return Box::new(std::iter::once(Err(Exn::from(Error::typ(value, "string")))));
    };
    if json_depth(text) > MAX_INPUT_DEPTH {
        return Box::new(std::iter::once(fail(&format_args!("it nests deeper than {MAX_INPUT_DEPTH} levels"))));
    }
    let mut values = Vec::new();
    for parsed in jaq_json::read::parse_many(text) {
        match parsed {
            Ok(value) => values.push(Ok(value)),
            Err(error) => {
                // The parser does not move on from what it cannot read: asked again, it would say the same for ever.
                values.push(fail(&error));
                break;
            }
        }
    }
    Box::new(values.into_iter())
}

/// How deep the brackets of a JSON text nest, strings and the interpreter's `#` comments aside.
fn json_depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(inner) = bytes.next() {
                    match inner {
                        b'\\' => {
                            bytes.next();
                        }
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'#' => {
                bytes.by_ref().find(|byte| **byte == b'\n');
            }
            _ => {}
        }
    }
    deepest
}
