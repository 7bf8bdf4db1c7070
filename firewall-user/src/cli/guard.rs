//! Asking before a change of policies cuts the session it is typed in.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::api::{Failure, Kind};

/// Does `change`, which is told whether it may cut the session, and asks on a terminal if it may not.
pub(super) fn guarded<T>(may_cut: bool, change: impl Fn(bool) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let error = match change(may_cut) {
        Err(error) => error,
        done => return done,
    };
    match error.downcast_ref::<Failure>() {
        Some(failure) if failure.kind == Kind::CutsSession && asks() => {
            if agrees(&failure.error)? {
                change(true)
            } else {
                Err(not_done())
            }
        }
        _ => Err(error),
    }
}

/// What becomes of a change its asker shrinks from.
pub(super) fn not_done() -> anyhow::Error {
    Failure::failed("nothing has changed").into()
}

/// There is somebody to ask.
pub(super) fn asks() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks whether to go on. Anything but yes is no.
pub(super) fn agrees(what: &str) -> anyhow::Result<bool> {
    let answer = answer(&format!("{what}\ncontinue? [y/N] "))?;
    Ok(answer.is_some_and(|answer| matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes")))
}

/// The answer to a question; `None` at the end of input.
pub(super) fn answer(question: &str) -> anyhow::Result<Option<String>> {
    eprint!("{question}");
    io::stderr().flush()?;
    let mut line = String::new();
    Ok((io::stdin().lock().read_line(&mut line)? > 0).then(|| line.trim().to_owned()))
}
