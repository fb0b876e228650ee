//! `clawbridge chat` as a process, with pipes or at a terminal.

use super::{eventually, program};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// A running client; killed when it is dropped.
pub(crate) struct Talk {
    child: Child,
    /// None where there is no more input.
    input: Option<Box<dyn Write + Send>>,
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
    /// Its state directory's parent.
    pub(crate) dir: TempDir,
}

/// A token as the bridge makes them.
pub(crate) fn token() -> clawbridge_access::Token {
    clawbridge_access::Token::of([7; 32])
}

impl Talk {
    /// With pipes.
    pub(crate) fn piped(args: &[&str]) -> Talk {
        let dir = TempDir::new().expect("a directory");
        let mut command = command(&dir, args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
        let (out, read_out) = collect(child.stdout.take().expect("stdout"));
        let (err, read_err) = collect(child.stderr.take().expect("stderr"));
        let input = child.stdin.take().map(|stdin| Box::new(stdin) as Box<dyn Write + Send>);
        Talk { child, input, out, err, readers: vec![read_out, read_err], dir }
    }

    /// At a terminal (a pseudo-terminal): what is typed is echoed.
    #[cfg(unix)]
    pub(crate) fn at_terminal(args: &[&str]) -> Talk {
        let size = nix::pty::Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(Some(&size), None).expect("a pseudo-terminal");
        let slave = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
        let dir = TempDir::new().expect("a directory");
        let mut command = command(&dir, args);
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().expect("spawn");
        let master = File::from(pty.master);
        let (out, read_out) = collect(master.try_clone().expect("a descriptor"));
        // Else the terminal would have somebody at its other side for ever.
        drop(command);
        Talk { child, input: Some(Box::new(master)), out, err: Arc::default(), readers: vec![read_out], dir }
    }

    /// Types something.
    pub(crate) fn type_in(&mut self, text: &str) {
        let input = self.input.as_mut().expect("an input");
        input.write_all(text.as_bytes()).expect("written");
        input.flush().expect("written");
    }

    /// Ends the input of pipes.
    pub(crate) fn end_input(&mut self) {
        self.input.take();
    }

    /// Standard output so far; at a terminal, all that there is to see, without escape sequences.
    pub(crate) fn out(&self) -> String {
        plain(&String::from_utf8_lossy(&self.out.lock().expect("output")))
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.err.lock().expect("errors")).into_owned()
    }

    /// Waits until it has said this, `count` times.
    pub(crate) async fn until_says(&self, text: &str, count: usize) {
        let what = || format!("{text:?} {count} times");
        let said = || {
            let has = self.out().matches(text).count() + self.err().matches(text).count() >= count;
            async move { has.then_some(()) }
        };
        // What it has said instead is what one wants to know.
        if tokio::time::timeout(std::time::Duration::from_secs(30), eventually(&what(), said)).await.is_err() {
            panic!("not said: {}\nout: {}\nerr: {}", what(), self.out(), self.err());
        }
    }

    /// As Ctrl-C in the terminal's own mode.
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    }

    /// Waits for its end: the exit status.
    pub(crate) async fn ended(&mut self) -> i32 {
        let child = &mut self.child;
        let status = eventually("the client has ended", || {
            let status = child.try_wait().expect("wait");
            async move { status }
        })
        .await;
        let readers = &self.readers;
        eventually("all was read", || {
            let is_read = readers.iter().all(JoinHandle::is_finished);
            async move { is_read.then_some(()) }
        })
        .await;
        status.code().unwrap_or(-1)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("chat").args(args).current_dir(dir.path());
    for name in [
        "CLAWBRIDGE_STACK",
        "CLAWBRIDGE_LOCAL",
        "CLAWBRIDGE_CHANNEL_URL",
        "CLAWBRIDGE_SECRET_PREFIX",
        "CLAWBRIDGE_TOKEN",
    ] {
        command.env_remove(name);
    }
    // Whoever names a bridge's state means the token in it.
    if !args.contains(&"--state") {
        command.arg("--state").arg(dir.path().join("state")).env("CLAWBRIDGE_TOKEN", token().reveal());
    }
    command.env("USER", "m/e").env("NO_COLOR", "1").env("TERM", "xterm");
    command
}

/// Reads to the end, beside the process that writes.
fn collect(mut from: impl Read + Send + 'static) -> (Arc<Mutex<Vec<u8>>>, JoinHandle<()>) {
    let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
    let sink = bytes.clone();
    let reader = std::thread::spawn(move || {
        let mut part = [0; 4096];
        // A terminal whose other side is gone is an error, and the end.
        while let Ok(count) = from.read(&mut part) {
            if count == 0 {
                return;
            }
            sink.lock().expect("bytes").extend_from_slice(&part[..count]);
        }
    });
    (bytes, reader)
}

/// Text as it is read: without the sequences that move the cursor, and with one kind of line end.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            }
            '\r' => {}
            c => plain.push(c),
        }
    }
    plain
}
