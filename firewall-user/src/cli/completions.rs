use std::io::{self, Write as _};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Arguments {
    shell: Shell,
}

impl Arguments {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "weir", &mut script);
        Ok(io::stdout().write_all(&script)?)
    }
}

/// Prints the manual: the main page, then one section per verb.
pub(super) fn man() -> anyhow::Result<()> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = format!("weir-{}", verb.get_name());
        clap_mangen::Man::new(verb.clone()).title(name).render(&mut page)?;
    }
    Ok(io::stdout().write_all(&page)?)
}
