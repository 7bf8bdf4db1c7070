//! Runs other programs to their end. A failure always names the command, how it ended and the last lines it printed.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail};

/// How many of a failed program's last lines are shown.
const LINES_SHOWN: usize = 20;

/// The program's standard output. Nothing appears on the terminal unless the program fails.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", line(command)))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let last = last_lines(text.lines().chain(String::from_utf8_lossy(&output.stderr).lines()).map(str::to_owned));
        return Err(failure(command, output.status, &last));
    }
    Ok(text)
}

/// Runs the program, telling `on_line` each line it prints on either stream as it comes.
pub fn watch(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<()> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let also = writer.try_clone().context("cannot duplicate a pipe")?;
    let mut child =
        command.stdin(Stdio::null()).stdout(writer).stderr(also).spawn().with_context(|| format!("cannot start `{}`", line(command)))?;
    // The command still owns the pipe's writing ends: without closing them the reader would never meet the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut last = VecDeque::new();
    let mut buffer = Vec::new();
    let mut reader = BufReader::new(reader);
    while reader.read_until(b'\n', &mut buffer).context("cannot read from a pipe")? > 0 {
        let text = String::from_utf8_lossy(&buffer).trim_end().to_owned();
        on_line(&text);
        remember(&mut last, text);
        buffer.clear();
    }
    let status = child.wait().context("cannot wait for a child process")?;
    if status.success() { Ok(()) } else { Err(failure(command, status, &last)) }
}

/// Whether a program of this name is on PATH or in the directories an unprivileged PATH leaves out.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|directory| directory.join(program).is_file())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn remember(last: &mut VecDeque<String>, text: String) {
    if last.len() == LINES_SHOWN {
        last.pop_front();
    }
    last.push_back(text);
}

fn last_lines(lines: impl Iterator<Item = String>) -> VecDeque<String> {
    let mut last = VecDeque::new();
    lines.for_each(|text| remember(&mut last, text));
    last
}

fn failure(command: &Command, status: ExitStatus, last: &VecDeque<String>) -> anyhow::Error {
    let said = last.iter().map(|text| format!("\n    {text}")).collect::<String>();
    let said = if said.is_empty() { " and said nothing".to_owned() } else { format!("; its last lines:{said}") };
    anyhow::anyhow!("`{}` failed ({status}){said}", line(command))
}

/// Whether this process may create namespaces and load BPF programs.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Refuses to go on without root, naming what needs it.
pub fn require_root(what: &str) -> Result<()> {
    if !is_root() {
        bail!("{what} needs root: it creates network namespaces and loads BPF programs (try `sudo -E env PATH=\"$PATH\" cargo xtask …`)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_its_exit_code_and_its_last_twenty_lines() {
        let mut shell = Command::new("sh");
        let error = watch(shell.args(["-c", "seq 1 30; exit 7"]), |_| {}).expect_err("exit code 7 is a failure").to_string();
        assert!(error.starts_with("`sh -c seq 1 30; exit 7` failed (exit status: 7); its last lines:\n    11\n"), "{error}");
        assert!(error.ends_with("\n    30"), "{error}");
    }

    #[test]
    fn both_streams_are_watched_as_lines() {
        let mut seen = Vec::new();
        let mut shell = Command::new("sh");
        watch(shell.args(["-c", "echo out; echo err >&2"]), |text| seen.push(text.to_owned())).expect("the shell ends well");
        assert_eq!(seen, ["out", "err"]);
    }

    #[test]
    fn output_is_standard_output_alone() {
        let text = output(Command::new("sh").args(["-c", "echo out; echo err >&2"])).expect("the shell ends well");
        assert_eq!(text, "out\n");
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).expect_err("exit code 3 is a failure");
        assert!(error.to_string().contains("(exit status: 3); its last lines:\n    why"), "{error}");
    }
}
