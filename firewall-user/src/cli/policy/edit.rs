//! `weir policy edit`, in the manner of visudo: nothing but a policy that was checked as a whole takes the file's place.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;

use super::{
    super::{
        ask,
        guard::{agrees, answer, asks, not_done},
    },
    change::{Safety, apply, tell},
};
use crate::{
    api::{Applied, DiffRequest, Edited, Failure, Kind, PolicyDiff, Status},
    client::Client,
    controller::EditLock,
    files,
    instance::Instance,
    output, policy,
    session::Session,
};

/// Editor of those who have not chosen one.
const DEFAULT_EDITOR: &str = "vi";
/// Flows listed of those that would be judged otherwise.
const LISTED: usize = 10;

/// Edit a file of the policy in force, and apply it if it is right
///
/// The editor ($VISUAL, else $EDITOR, else vi) works on a copy beside the file. The policy is checked as a whole with the copy in the file's
/// place: when something is wrong it is shown, and the copy can be edited again or discarded. What is right is compared with the policy in
/// force, takes the file's place in one step and is applied. Two people cannot edit at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir policy edit
  weir policy edit 20-vpn.toml --confirm 60")]
pub(super) struct Arguments {
    /// A file of the policy, or a new one; may be left out when there is but one
    file: Option<PathBuf>,
    #[command(flatten)]
    safety: Safety,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What becomes of what was edited.
enum Outcome {
    Unchanged,
    Discarded,
    /// It is right; whether it may cut the session.
    Right {
        cut_session: bool,
    },
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let _lock = EditLock::take(instance)?;
        let path = policy_in_force(instance)?;
        let edit = Edit::begin(instance, &path, self.file.as_deref())?;
        let outcome = edit.until_right(&self)?;
        match outcome {
            Outcome::Unchanged => output::line(&format!("{} is unchanged", edit.file.display())),
            Outcome::Discarded => Err(Failure::new(Kind::Policy, format!("{} is as it was", edit.file.display())).into()),
            Outcome::Right { cut_session } => {
                let applied = edit.put_in_place(Safety { cut_session, ..self.safety })?;
                tell(instance, &applied, self.json)
            }
        }
    }
}

/// Where the policy in force is; none may wait to be confirmed.
fn policy_in_force(instance: &Instance) -> anyhow::Result<PathBuf> {
    let status: Status = ask(Client::new(instance).get("/v1/status"))?;
    if let Some(waits) = status.confirmation {
        let error = format!("policy number {} waits to be confirmed, for {} s more", waits.number, waits.seconds_left);
        return Err(Failure::new(Kind::Conflict, error)
            .hint("`weir policy confirm` keeps it, `weir policy rollback` takes it back")
            .into());
    }
    let policy = status.policy.ok_or_else(|| Failure::failed("no policy is in force"))?;
    Ok(PathBuf::from(policy.path))
}

/// A file that is edited, and the copy that is.
struct Edit<'i> {
    instance: &'i Instance,
    policy: PathBuf,
    file: PathBuf,
    copy: PathBuf,
    /// What the file says; `None` when it is not there.
    before: Option<Vec<u8>>,
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        // Gone already if it took the file's place.
        let _ = fs::remove_file(&self.copy);
    }
}

impl<'i> Edit<'i> {
    fn begin(instance: &'i Instance, policy: &Path, wanted: Option<&Path>) -> anyhow::Result<Self> {
        let file = choose(policy, wanted)?;
        let failed = |error: io::Error| Failure::failed(format!("{} cannot be edited: {error}", file.display()));
        let before = match fs::read(&file) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error).into()),
        };
        let copy = files::copy_to_edit(&file, before.as_deref().unwrap_or_default()).map_err(failed)?;
        Ok(Self { instance, policy: policy.to_path_buf(), file, copy, before })
    }

    /// Edits until the policy is right, or given up.
    fn until_right(&self, arguments: &Arguments) -> anyhow::Result<Outcome> {
        loop {
            self.run_editor()?;
            if fs::read(&self.copy).unwrap_or_default() == self.before.clone().unwrap_or_default() {
                return Ok(Outcome::Unchanged);
            }
            let error = match self.compare() {
                Ok(diff) => return consider(&diff, arguments),
                Err(error) => error,
            };
            match error.downcast_ref::<Failure>() {
                Some(failure) if failure.kind == Kind::Policy => eprintln!("{failure}"),
                _ => return Err(error),
            }
            loop {
                match answer("(e)dit again, or e(x)it and discard? ")?.as_deref() {
                    Some("e") => break,
                    None | Some("x") => return Ok(Outcome::Discarded),
                    Some(_) => {}
                }
            }
        }
    }

    fn run_editor(&self) -> Result<(), Failure> {
        let chosen = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| env::var(name).ok()).find(|editor| !editor.trim().is_empty());
        let editor = chosen.unwrap_or_else(|| DEFAULT_EDITOR.to_owned());
        // An editor may come with options, as in `code --wait`.
        let ended = Command::new("sh").args(["-c", &format!("{editor} \"$1\""), "sh"]).arg(&self.copy).status();
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::failed(format!("the editor `{editor}` failed ({status}): {} is as it was", self.file.display()))),
            Err(error) => Err(Failure::failed(format!("the editor `{editor}` cannot be run: {error}"))),
        }
    }

    /// Lets the daemon check the policy with the copy in the file's place.
    fn compare(&self) -> anyhow::Result<PolicyDiff> {
        let edited = Some(Edited { file: self.file.clone(), copy: self.copy.clone() });
        let request = DiffRequest { path: self.policy.clone(), edited, limit: Some(LISTED), session: Session::of_this_process() };
        ask(Client::new(self.instance).post("/v1/policy/diff", &request))
    }

    /// Puts the copy in the file's place and applies the policy; on any failure the file is as before.
    fn put_in_place(&self, safety: Safety) -> anyhow::Result<Applied> {
        let edited = fs::read(&self.copy)?;
        files::take_place(&self.copy, &self.file)
            .map_err(|error| Failure::failed(format!("{} cannot be replaced: {error}", self.file.display())))?;
        apply(self.instance, &self.policy, safety).inspect_err(|_| {
            let restored = match &self.before {
                Some(bytes) => files::replace(&self.file, bytes),
                None => fs::remove_file(&self.file),
            };
            if let Err(error) = restored {
                eprintln!("{} could not be put back: {error}", self.file.display());
            }
            match files::keep_rejected(&self.file, &edited) {
                Ok(kept) => eprintln!("{} is as it was; what you wrote is in {}", self.file.display(), kept.display()),
                Err(error) => eprintln!("what you wrote is lost: {error}"),
            }
        })
    }
}

/// Shows what will change, and asks if that cuts the session.
fn consider(diff: &PolicyDiff, arguments: &Arguments) -> anyhow::Result<Outcome> {
    for warning in &diff.warnings {
        eprintln!("{warning}");
    }
    if !arguments.json {
        output::diff(diff)?;
    }
    let cut_session = match &diff.cuts_session {
        None => arguments.safety.cut_session,
        Some(_) if arguments.safety.cut_session => true,
        Some(why) if asks() => {
            if !agrees(&format!("this cuts your own SSH session: {why}"))? {
                return Err(not_done());
            }
            true
        }
        Some(why) => {
            let failure = Failure::new(Kind::CutsSession, format!("this cuts your own SSH session: {why}"));
            return Err(failure.hint("say --cut-session if that is what you want").into());
        }
    };
    Ok(Outcome::Right { cut_session })
}

/// The file that is meant.
fn choose(policy: &Path, wanted: Option<&Path>) -> Result<PathBuf, Failure> {
    let files = policy::files_of(policy).map_err(|error| Failure::failed(format!("{} cannot be read: {error}", policy.display())))?;
    let Some(wanted) = wanted else {
        return match files.as_slice() {
            [only] => Ok(only.clone()),
            several => Err(Failure::usage("which file?").hint(format!("the policy has {}", names(several)))),
        };
    };
    let plain = wanted.components().count() == 1 && !wanted.is_absolute();
    let file = if plain && policy.is_dir() { policy.join(wanted) } else { std::path::absolute(wanted).unwrap_or_default() };
    if files.contains(&file) {
        return Ok(file);
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if policy.is_dir() && file.parent() == Some(policy) && name.ends_with(".toml") && !name.starts_with('.') {
        return Ok(file);
    }
    Err(Failure::usage(format!("{} is no file of the policy {}", wanted.display(), policy.display()))
        .hint(format!("it has {}; a new one must be in its directory and end in .toml", names(&files))))
}

fn names(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap_or_default().to_string_lossy()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_policy_are_edited() {
        let directory = env::temp_dir().join(format!("weir-edit-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = |name: &str| directory.join(name);
        fs::write(path("a.toml"), "").expect("a file");
        assert_eq!(choose(&directory, None).ok(), Some(path("a.toml")));
        fs::write(path("b.toml"), "").expect("a file");
        assert_eq!(choose(&directory, None).expect_err("two files").hint.as_deref(), Some("the policy has a.toml, b.toml"));
        for (wanted, chosen) in [("b.toml", Some("b.toml")), ("new.toml", Some("new.toml"))] {
            assert_eq!(choose(&directory, Some(Path::new(wanted))).ok(), chosen.map(path));
        }
        assert_eq!(choose(&directory, Some(&path("a.toml"))).ok(), Some(path("a.toml")));
        for wanted in [".hidden.toml", "notes.txt", "../a.toml", "/etc/passwd", "/tmp/x.toml", ""] {
            assert!(choose(&directory, Some(Path::new(wanted))).is_err(), "{wanted:?}");
        }
        assert_eq!(choose(&path("a.toml"), None).ok(), Some(path("a.toml")), "a policy of one file");
        assert!(choose(&path("a.toml"), Some(Path::new("b.toml"))).is_err());
        fs::remove_dir_all(&directory).expect("removed");
    }
}
