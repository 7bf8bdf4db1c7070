//! Verbs as somebody types them: in an environment, with answers, on a terminal.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::lab::{Lab, Run, Running};

impl Lab {
    /// Runs a verb to its end in an environment, with something to read.
    pub fn weir_with(&self, words: &[&str], environment: &[(&str, &str)], input: &str) -> Run {
        let mut command = self.command(words);
        Self::run_with(&mut command, environment, input)
    }

    /// The same on a terminal of its own. What it prints there is all in `out`.
    pub fn weir_on_a_terminal(&self, words: &[&str], environment: &[(&str, &str)], input: &str) -> Run {
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let line = format!("{} {} --instance {}", env!("CARGO_BIN_EXE_weir"), quoted.join(" "), self.instance);
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        Self::run_with(&mut command, environment, input)
    }

    fn run_with(command: &mut Command, environment: &[(&str, &str)], input: &str) -> Run {
        command.envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        // It may end without reading.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Run::of(child.wait_with_output().expect("its output"))
    }

    /// Begins a verb that goes on, in an environment.
    pub fn begin_with(&self, words: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut command = self.command(words);
        command.envs(environment.iter().copied());
        Running(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("weir runs")))
    }
}
