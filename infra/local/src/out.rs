//! Standard output that may be closed at the other end: `clawbridge events list | head -1` is no failure.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints a line. Where nobody reads any more, there is nothing more to do and the process ends.
pub(crate) fn line(text: Arguments<'_>) {
    let written = writeln!(std::io::stdout().lock(), "{text}");
    if written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

/// Prints text as it is, at once.
pub(crate) fn text(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

/// [`println!`](std::println) for commands: see [`line`].
macro_rules! say {
    () => { $crate::out::line(format_args!("")) };
    ($($text:tt)*) => { $crate::out::line(format_args!($($text)*)) };
}

pub(crate) use say;
