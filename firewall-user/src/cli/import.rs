use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use crate::{
    api::{Failure, ImportedPolicy, Kind, NotCarriedOver},
    import::asa::{self, FILES, ImportError, Imported, MAX_BYTES},
    output, policy,
    policy::Source,
};

/// Make a policy of another firewall's configuration
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// A Cisco ASA's running configuration
    ///
    /// Prints the policy, each rule below the lines it comes from, and on standard error what was not carried over, and why. It never permits
    /// what the ASA does not. Zones have the names of the ASA's interfaces. Needs no daemon and no privileges.
    #[command(after_help = "\
Examples:
  weir policy import asa running-config.txt > policy.toml
  weir policy import asa running-config.txt --output /etc/weir/policies
  weir policy import asa running-config.txt --json | jq '.not_carried_over[] | {line, reason}'
  ssh asa show running-config | weir policy import asa -")]
    Asa {
        /// The output of `show running-config`; - reads standard input
        file: PathBuf,
        /// Write the policy's files to this directory, which must be new or empty, instead of printing it
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Print policy and list as JSON
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        match self.from {
            From::Asa { file, output, json } => asa(&file, output.as_deref(), json),
        }
    }
}

fn asa(file: &Path, output: Option<&Path>, json: bool) -> anyhow::Result<()> {
    if let Some(directory) = output {
        refuse_used(directory)?;
    }
    let imported = read(file)?;
    let sources = match output {
        Some(directory) => imported.sources(directory),
        None => vec![Source { path: "policy.toml".into(), text: imported.text() }],
    };
    let checked = policy::load_sources(sources.clone(), None);
    let mut result = ImportedPolicy {
        source: file.display().to_string(),
        valid: checked.is_ok(),
        rules: imported.count,
        zones: Vec::new(),
        policy: if imported.count == 0 { String::new() } else { imported.text() },
        written: Vec::new(),
        warnings: Vec::new(),
        errors: Vec::new(),
        not_carried_over: NotCarriedOver::all(file, &imported),
    };
    let refusal = match checked {
        Ok((policy, warnings)) => {
            result.zones = policy.zones().into_iter().map(str::to_owned).collect();
            result.warnings = warnings;
            None
        }
        Err(errors) => {
            let text = errors.to_string();
            result.errors = errors.errors;
            Some(text)
        }
    };
    if let (Some(directory), true) = (output, imported.count > 0) {
        result.written = write(directory, &sources)?;
    }
    if json {
        output::json(&result)?;
    } else {
        tell(&result, output)?;
    }
    match refusal {
        None => Ok(()),
        Some(_) if imported.count == 0 => Err(Failure::failed(format!("nothing of {} could be carried over", file.display()))
            .hint("see the list of what was not, and why")
            .into()),
        Some(errors) => {
            let message = format!("the policy does not pass `weir policy check`:\n{errors}");
            Err(Failure::failed(message).hint("mend it by hand; what it says is carried over all the same").into())
        }
    }
}

fn read(file: &Path) -> anyhow::Result<Imported> {
    let unreadable = |error: io::Error| Failure::failed(format!("{} cannot be read: {error}", file.display()));
    let mut bytes = Vec::new();
    let room = MAX_BYTES as u64 + 1;
    if file == Path::new("-") {
        io::stdin().lock().take(room).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        fs::File::open(file).map_err(unreadable)?.take(room).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    let refused = |errors: policy::Diagnostics| Failure::new(Kind::Policy, errors.to_string());
    let text = asa::decode(file, bytes).map_err(refused)?;
    asa::import(file, &text, jiff::Timestamp::now()).map_err(|error| match error {
        ImportError::Refused(errors) => refused(errors).into(),
        ImportError::TooMany(error) => {
            let hint =
                "a policy has at most 4096 rules and 1024 entries: import the interfaces one by one, or remove what is no longer used";
            Failure::failed(format!("{}: {error}", file.display())).hint(hint).into()
        }
    })
}

/// Refuses a directory that anything lies in: nothing is ever overwritten.
fn refuse_used(directory: &Path) -> Result<(), Failure> {
    let used =
        |what: &str| Failure::new(Kind::Conflict, format!("{} {what}", directory.display())).hint("name a new or an empty directory");
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(used("is not empty")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(used("is not a directory")),
        Err(error) => Err(Failure::failed(format!("{} cannot be read: {error}", directory.display()))),
    }
}

/// Writes the files, all or none.
fn write(directory: &Path, sources: &[Source]) -> Result<Vec<String>, Failure> {
    let failed = |path: &Path, error: &io::Error| Failure::failed(format!("{} cannot be written: {error}", path.display()));
    let made = !directory.exists();
    fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    let mut written: Vec<&Path> = Vec::new();
    for source in sources {
        let file = fs::File::options().write(true).create_new(true).open(&source.path);
        let done = file.and_then(|mut file| {
            written.push(&source.path);
            file.write_all(source.text.as_bytes())
        });
        if let Err(error) = done {
            written.iter().for_each(|path| drop(fs::remove_file(path)));
            if made {
                drop(fs::remove_dir(directory));
            }
            return Err(failed(&source.path, &error));
        }
    }
    Ok(written.iter().map(|path| path.display().to_string()).collect())
}

fn tell(result: &ImportedPolicy, output: Option<&Path>) -> anyhow::Result<()> {
    eprint!("{}", output::not_carried_over(&result.not_carried_over));
    let lists = result.not_carried_over.len();
    let warnings = match result.warnings.len() {
        0 => String::new(),
        1 => "; `weir policy check` has a warning".to_owned(),
        more => format!("; `weir policy check` has {more} warnings"),
    };
    let things = if lists == 1 { "1 thing was".to_owned() } else { format!("{lists} things were") };
    let summary = format!("{} rules, zones {}; {things} not carried over{warnings}", result.rules, result.zones.join(", "));
    match output {
        Some(directory) if result.rules > 0 => output::line(&format!("{}: {}: {summary}", directory.display(), FILES.join(", "))),
        None if result.rules > 0 => {
            eprintln!("{}: {summary}", result.source);
            output::line(result.policy.trim_end())
        }
        _ => Ok(()),
    }
}
