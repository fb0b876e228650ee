//! Bounds on a running program: steps, stack, and the size of what it carries along.
//!
//! The interpreter has no limits of its own, but it hands a value of our choice to every native function. So a native
//! identity, [`TICK`], is put in front of every function body and every round of a fold that could run without end
//! ([`watch`]), and counts.

use std::cell::Cell;
use std::collections::BTreeSet;

use jaq_core::box_iter::box_once;
use jaq_core::data::{DataT, HasLut};
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::native::Fun;
use jaq_core::path::{Part, Path};
use jaq_core::{Exn, Lut, Native};
use jaq_json::Val;

use crate::RunError;
use crate::value::is_within_depth;

/// The most steps that one run may take. Up to half a second of work.
pub const MAX_STEPS: u32 = 250_000;
/// The most calls, in one run, of functions that call themselves and take functions as arguments (`def f(g): …`, not
/// `def f($x): …`): each can wrap the arguments of the one before, and unwrapping takes stack.
pub const MAX_WRAPPING_CALLS: u32 = 4_000;
/// The most stack that a program's functions may use by calling each other, in bytes.
pub const MAX_STACK_BYTES: usize = 16 * 1024 * 1024;

/// The stack of a thread that runs a program whose functions call themselves: beside [`MAX_STACK_BYTES`], room to unwrap
/// [`MAX_WRAPPING_CALLS`] and to drop what was built.
pub(crate) const THREAD_STACK_BYTES: usize = 64 * 1024 * 1024;

/// The name of the native identity that counts. No source can spell it, so none can shadow it.
const TICK: &str = "!tick";
/// The same for a wrapping call.
const WRAPPING_TICK: &str = "!wrapping_tick";

/// The deepest value that a loop may carry along: dropping a value takes stack for each level.
const MAX_CARRIED_DEPTH: usize = 1_500;
/// The longest text or array that a loop may carry along.
const MAX_CARRIED_LENGTH: usize = 16 * 1024 * 1024;
/// Steps between two looks at the depth of a carried value, at least.
const DEPTH_CHECK_STEPS: u32 = 16;

/// The interpreter's parameters: JSON values, and a [`Run`] that native functions can reach.
pub(crate) struct Kind;

impl DataT for Kind {
    type V<'a> = Val;
    type Data<'a> = Run<'a>;
}

/// One run of a program.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) lut: &'a Lut<Kind>,
    pub(crate) meter: &'a Meter,
}

impl<'a> HasLut<'a, Kind> for Run<'a> {
    fn lut(&self) -> &'a Lut<Kind> {
        self.lut
    }
}

/// What one run has used.
pub(crate) struct Meter {
    stack_start: usize,
    steps: Cell<u32>,
    wrapping_calls: Cell<u32>,
    depth_check_at: Cell<u32>,
    verdict: Cell<Option<Excess>>,
}

/// Which bound a run went over.
#[derive(Clone, Copy)]
enum Excess {
    Steps,
    Stack,
    Depth,
    Length,
}

impl Meter {
    /// A meter for a run that starts here on the stack.
    pub(crate) fn new() -> Self {
        Self {
            stack_start: stack_address(),
            steps: Cell::new(0),
            wrapping_calls: Cell::new(0),
            depth_check_at: Cell::new(DEPTH_CHECK_STEPS),
            verdict: Cell::new(None),
        }
    }

    /// The bound that the run went over, if any. Once over, always over: no `try` of the program hides it.
    pub(crate) fn excess(&self) -> Option<RunError> {
        self.verdict.get().map(|excess| match excess {
            Excess::Steps => RunError::StepsExhausted,
            Excess::Stack => RunError::StackExhausted,
            Excess::Depth => RunError::OutputTooDeep,
            Excess::Length => RunError::OutputTooLarge,
        })
    }

    /// Count a step that carries `value`. An error ends the run: it is not one that a program can catch.
    pub(crate) fn step<'a>(&self, value: &Val) -> Result<(), Exn<'a, Val>> {
        if self.verdict.get().is_none() {
            self.verdict.set(self.look(value));
        }
        match self.verdict.get() {
            None => Ok(()),
            Some(_) => Err(Exn::halt(1)),
        }
    }

    /// Count a wrapping call, which is a step as well.
    fn wrapping_call<'a>(&self, value: &Val) -> Result<(), Exn<'a, Val>> {
        let calls = self.wrapping_calls.get() + 1;
        self.wrapping_calls.set(calls);
        if calls > MAX_WRAPPING_CALLS && self.verdict.get().is_none() {
            self.verdict.set(Some(Excess::Stack));
        }
        self.step(value)
    }

    fn look(&self, value: &Val) -> Option<Excess> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if steps > MAX_STEPS {
            return Some(Excess::Steps);
        }
        if self.stack_start.abs_diff(stack_address()) > MAX_STACK_BYTES {
            return Some(Excess::Stack);
        }
        let length = match value {
            Val::TStr(text) | Val::BStr(text) => text.len(),
            Val::Arr(items) => items.len(),
            Val::Obj(fields) => fields.len(),
            Val::Null | Val::Bool(_) | Val::Num(_) => return None,
        };
        if length > MAX_CARRIED_LENGTH {
            return Some(Excess::Length);
        }
        if steps >= self.depth_check_at.get() {
            let mut seen = 0;
            if !is_within_depth(value, MAX_CARRIED_DEPTH, &mut seen) {
                return Some(Excess::Depth);
            }
            // A large value is looked at less often, so that looking stays cheap beside the steps themselves.
            let pause = u32::try_from(seen / 16).unwrap_or(u32::MAX).max(DEPTH_CHECK_STEPS);
            self.depth_check_at.set(steps.saturating_add(pause));
        }
        None
    }
}

/// About where the stack is now. Only differences between two such numbers of one thread mean something.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// The native identities that count.
pub(crate) fn ticks() -> [Fun<Kind>; 2] {
    /// The same for each way in which the interpreter uses a function: for its values, for its paths, to update at them.
    macro_rules! identity {
        ($name:expr, $count:ident) => {
            (
                $name,
                Box::new([]),
                Native::<Kind>::new(|(ctx, value)| box_once(ctx.data().meter.$count(&value).map(|()| value)))
                    .with_paths(|(ctx, at)| box_once(ctx.data().meter.$count(&at.0).map(|()| at)))
                    .with_update(|(ctx, value), update| match ctx.data().meter.$count(&value) {
                        Ok(()) => update(value),
                        Err(end) => box_once(Err(end)),
                    }),
            )
        };
    }
    [identity!(TICK, step), identity!(WRAPPING_TICK, wrapping_call)]
}

/// Which functions get a [`TICK`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Those that call themselves or one that they are part of: enough for a library that is known not to blow up otherwise.
    Recursive,
    /// All: functions that only call others can still double the work with each.
    All,
}

/// The syntax is nested more deeply than allowed.
#[derive(Debug)]
pub(crate) struct TooDeep;

/// Put a [`TICK`] in front of whatever could run without end in a definition of the library.
pub(crate) fn watch_library(def: &mut Def<&'static str>) -> Watched {
    let mut watcher = Watcher::new(Watch::Recursive);
    // The library nests as it does: there is no bound for it to break.
    let _ = watcher.def(def, usize::MAX);
    watcher.watched
}

/// Put a [`TICK`] in front of whatever could run without end in `term`, a program.
pub(crate) fn watch(term: &mut Term<&str>, max_depth: usize) -> Result<Watched, TooDeep> {
    let mut watcher = Watcher::new(Watch::All);
    watcher.term(term, max_depth)?;
    Ok(watcher.watched)
}

/// What was seen on the way.
#[derive(Default)]
pub(crate) struct Watched {
    /// Whether there are functions that call themselves.
    pub(crate) calls_itself: bool,
    /// The names of all functions that are called.
    pub(crate) calls: BTreeSet<String>,
}

struct Watcher {
    watch: Watch,
    /// Names of the definitions around the current place.
    enclosing: Vec<String>,
    /// For each of them, whether its body calls it or one around it.
    recursive: Vec<bool>,
    watched: Watched,
}

impl Watcher {
    fn new(watch: Watch) -> Self {
        Self { watch, enclosing: Vec::new(), recursive: Vec::new(), watched: Watched::default() }
    }

    fn def(&mut self, def: &mut Def<&str>, depth: usize) -> Result<(), TooDeep> {
        self.enclosing.push(def.name.to_owned());
        self.recursive.push(false);
        let result = self.term(&mut def.body, depth);
        self.enclosing.pop();
        let is_recursive = self.recursive.pop().unwrap_or(false);
        self.watched.calls_itself |= is_recursive;
        let takes_functions = def.args.iter().any(|arg| !arg.starts_with('$'));
        match (self.watch, is_recursive) {
            (Watch::All, true) if takes_functions => before(WRAPPING_TICK, &mut def.body),
            (_, true) | (Watch::All, false) => before(TICK, &mut def.body),
            (Watch::Recursive, false) => {}
        }
        result
    }

    fn terms<'t, 's: 't>(
        &mut self,
        terms: impl IntoIterator<Item = &'t mut Term<&'s str>>,
        depth: usize,
    ) -> Result<(), TooDeep> {
        terms.into_iter().try_for_each(|term| self.term(term, depth))
    }

    fn term(&mut self, term: &mut Term<&str>, depth: usize) -> Result<(), TooDeep> {
        let depth = depth.checked_sub(1).ok_or(TooDeep)?;
        match term {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => Ok(()),
            Term::Str(format, parts) => {
                self.watched.calls.extend(format.map(str::to_owned));
                parts.iter_mut().try_for_each(|part| match part {
                    StrPart::Term(term) => self.term(term, depth),
                    StrPart::Str(_) | StrPart::Char(_) => Ok(()),
                })
            }
            Term::Arr(inner) => self.terms(inner.as_deref_mut(), depth),
            Term::Obj(entries) => entries.iter_mut().try_for_each(|(key, value)| {
                self.term(key, depth)?;
                self.terms(value.as_mut(), depth)
            }),
            Term::Neg(inner) | Term::Label(_, inner) => self.term(inner, depth),
            Term::BinOp(left, op, right) => {
                if let BinaryOp::Pipe(Some(pattern)) = op {
                    self.pattern(pattern, depth)?;
                }
                self.term(left, depth)?;
                self.term(right, depth)
            }
            Term::Fold(_, items, pattern, args) => {
                self.term(items, depth)?;
                self.pattern(pattern, depth)?;
                self.terms(args.iter_mut(), depth)?;
                if let Some(update) = args.get_mut(1) {
                    before(TICK, update);
                }
                Ok(())
            }
            Term::TryCatch(body, handler) => {
                self.term(body, depth)?;
                self.terms(handler.as_deref_mut(), depth)
            }
            Term::IfThenElse(branches, otherwise) => {
                // The interpreter nests each branch in the one before.
                let inner = depth.checked_sub(branches.len()).ok_or(TooDeep)?;
                for (condition, branch) in branches {
                    self.term(condition, inner)?;
                    self.term(branch, inner)?;
                }
                self.terms(otherwise.as_deref_mut(), inner)
            }
            Term::Def(defs, body) => {
                defs.iter_mut().try_for_each(|def| self.def(def, depth))?;
                self.term(body, depth)
            }
            Term::Call(name, args) => {
                self.watched.calls.insert((*name).to_owned());
                if let Some(at) = self.enclosing.iter().position(|around| around == name) {
                    // The one that is called, and all between it and here, take part in the recursion.
                    self.recursive[at..].fill(true);
                }
                self.terms(args.iter_mut(), depth)
            }
            Term::Path(head, Path(parts)) => {
                self.term(head, depth)?;
                parts.iter_mut().try_for_each(|(part, _)| match part {
                    Part::Index(index) => self.term(index, depth),
                    Part::Range(from, to) => {
                        self.terms(from.as_mut(), depth)?;
                        self.terms(to.as_mut(), depth)
                    }
                })
            }
        }
    }

    fn pattern(&mut self, pattern: &mut Pattern<&str>, depth: usize) -> Result<(), TooDeep> {
        let depth = depth.checked_sub(1).ok_or(TooDeep)?;
        match pattern {
            Pattern::Var(_) => Ok(()),
            Pattern::Arr(items) => items.iter_mut().try_for_each(|item| self.pattern(item, depth)),
            Pattern::Obj(entries) => entries.iter_mut().try_for_each(|(key, value)| {
                self.term(key, depth)?;
                self.pattern(value, depth)
            }),
        }
    }
}

/// `term` becomes `tick | term`. The right side of a pipe keeps its tail calls, so loops that need no stack still need none.
fn before(tick: &'static str, term: &mut Term<&str>) {
    let body = std::mem::take(term);
    *term = Term::BinOp(Box::new(Term::Call(tick, Vec::new())), BinaryOp::Pipe(None), Box::new(body));
}
