//! Bypass rules: `weir bypass` edits the policy files, comments kept, and applies the whole policy. On any failure the file is as before.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use firewall_common::{flow::Inspection, rule::Action};

use super::{Controller, held, reload::refused};
use crate::{
    api::{Applied, BypassAdd, BypassAdded, BypassRemoved, BypassRule, Failure, Kind},
    policy::{
        self, Policy, Source, Warning,
        edit::{self, EditError, NewRule},
    },
};

/// Where new rules go: before every other file, so that no broader rule takes their packets first.
const DEFAULT_FILE: &str = "00-bypass.toml";
/// First lines of a file that `weir bypass add` makes.
const HEADER: &str = "# Flows that pass without TCP state checks. Written by `weir bypass add`; edits by hand are kept.\n";
/// Permissions of such a file.
const NEW_FILE_MODE: u32 = 0o644;

/// A file about to be changed, and the policy as it will be.
struct Edit {
    file: PathBuf,
    text: String,
    policy: Policy,
    warnings: Vec<Warning>,
}

impl Controller {
    /// The bypass rules in force.
    pub fn bypass_rules(&self) -> Result<Vec<BypassRule>, Failure> {
        self.sweep.run(&self.maps, &self.live)?;
        let rules = self.rules_in_force(|rule| rule.enabled && rule.inspection == Inspection::Bypass)?;
        let describe = |rule: crate::api::RuleInForce| BypassRule {
            name: rule.name,
            file: rule.file,
            line: rule.line,
            from: rule.from,
            to: rule.to,
            service: rule.service,
            because: rule.because,
            expires: rule.expires,
            expired: rule.expired,
            flows: rule.flows,
            hits: rule.hits,
        };
        Ok(rules.into_iter().map(describe).collect())
    }

    /// Adds a bypass rule to a policy file and applies the policy.
    pub fn bypass_add(&self, request: &BypassAdd) -> Result<BypassAdded, Failure> {
        let _editing = held(&self.edit);
        let path = self.policy_path()?;
        let rule = new_rule(request)?;
        let sources = policy::read_sources(&path).map_err(|errors| refused(&errors))?;
        let file = self.file_for(request, &path)?;
        let edit = edited(sources, file, |text| edit::add_rule(text, &rule, request.before.as_deref()))?;
        let file = edit.file.display().to_string();
        let applied = self.write_and_apply(&path, edit)?;
        Ok(BypassAdded { name: request.name.clone(), file, generation: applied.generation, warnings: applied.warnings })
    }

    /// Removes a bypass rule, and no other, from its file and applies the policy.
    pub fn bypass_remove(&self, name: &str) -> Result<BypassRemoved, Failure> {
        let _editing = held(&self.edit);
        let path = self.policy_path()?;
        let sources = policy::read_sources(&path).map_err(|errors| refused(&errors))?;
        let (present, _) = policy::load_sources(sources.clone(), None).map_err(|errors| refused(&errors))?;
        let rule = present.rules().iter().find(|rule| rule.name == name).ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("there is no rule `{name}`")).hint("`weir bypass list` shows the bypass rules")
        })?;
        if rule.inspection != Inspection::Bypass {
            let error = format!("rule `{name}` is no bypass rule: its inspection is {}", rule.inspection.name());
            return Err(Failure::new(Kind::Conflict, error).hint(format!("it is in {}:{}", rule.file.display(), rule.line)));
        }
        let edit = edited(sources, rule.file.clone(), |text| edit::remove_rule(text, name))?;
        let file = edit.file.display().to_string();
        let applied = self.write_and_apply(&path, edit)?;
        Ok(BypassRemoved { name: name.to_owned(), file, generation: applied.generation })
    }

    fn policy_path(&self) -> Result<PathBuf, Failure> {
        let state = held(&self.policy);
        state.in_force.as_ref().map(|in_force| in_force.path.clone()).ok_or_else(|| Failure::failed("no policy is in force"))
    }

    /// The file a new rule goes to: the one asked for, else the one of the rule it goes before, else the default.
    fn file_for(&self, request: &BypassAdd, path: &Path) -> Result<PathBuf, Failure> {
        if let Some(name) = &request.file {
            let plain = !name.contains('/') && !name.starts_with('.') && name.ends_with(".toml");
            if !plain {
                return Err(Failure::usage(format!("`{name}` is no name for a policy file"))
                    .hint("a name in the policy directory that ends in .toml, without a path"));
            }
            if !path.is_dir() {
                return Err(Failure::usage(format!("the policy is the single file {}", path.display())).hint("leave --file out"));
            }
            return Ok(path.join(name));
        }
        if let Some(before) = &request.before {
            let state = held(&self.policy);
            let rules = state.in_force.iter().flat_map(|in_force| in_force.policy.rules());
            let file = rules.filter(|rule| rule.name == *before).map(|rule| rule.file.clone()).next();
            return file.ok_or_else(|| Failure::usage(format!("there is no rule `{before}` to go before")));
        }
        Ok(if path.is_dir() { path.join(DEFAULT_FILE) } else { path.to_path_buf() })
    }

    /// Writes the file and puts the policy in force; undoes the first when the second fails.
    fn write_and_apply(&self, path: &Path, edit: Edit) -> Result<Applied, Failure> {
        let failed = |error: io::Error| Failure::failed(format!("{} cannot be written: {error}", edit.file.display()));
        let before = match fs::read(&edit.file) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        write_atomically(&edit.file, edit.text.as_bytes()).map_err(failed)?;
        self.apply_read(path, edit.policy, &edit.warnings).inspect_err(|_| {
            let restored = match before {
                Some(bytes) => write_atomically(&edit.file, &bytes),
                None => fs::remove_file(&edit.file),
            };
            if let Err(error) = restored {
                log::error!("{} could not be put back: {error}", edit.file.display());
            }
        })
    }
}

fn new_rule(request: &BypassAdd) -> Result<NewRule, Failure> {
    let expires = request.expires.as_deref().map(edit::parse_expires).transpose().map_err(|error| Failure::usage(error.to_string()))?;
    Ok(NewRule {
        name: request.name.clone(),
        from: request.from.clone(),
        to: request.to.clone(),
        service: request.service.clone(),
        action: Action::Allow,
        inspection: Inspection::Bypass,
        idle_timeout: request.idle_timeout.clone(),
        expires,
        because: request.because.clone(),
        ..NewRule::default()
    })
}

/// Changes one file's text and checks the whole policy as it would be then.
fn edited(mut sources: Vec<Source>, file: PathBuf, change: impl Fn(&str) -> Result<String, EditError>) -> Result<Edit, Failure> {
    let index = match sources.iter().position(|source| source.path == file) {
        Some(index) => index,
        None => {
            sources.push(Source { path: file.clone(), text: HEADER.to_owned() });
            sources.sort_by(|left, right| left.path.cmp(&right.path));
            sources.iter().position(|source| source.path == file).unwrap_or(0)
        }
    };
    let text = change(&sources[index].text).map_err(|error| edit_failed(&file, &error))?;
    sources[index].text.clone_from(&text);
    let (policy, warnings) = policy::load_sources(sources, None).map_err(|errors| refused(&errors))?;
    Ok(Edit { file, text, policy, warnings })
}

fn edit_failed(file: &Path, error: &EditError) -> Failure {
    let kind = match error {
        EditError::NoSuchRule(_) => Kind::NotFound,
        EditError::Duplicate(_) => Kind::Conflict,
        EditError::Date(_) => Kind::Usage,
        _ => Kind::Policy,
    };
    Failure::new(kind, format!("{}: {error}", file.display()))
}

/// Writes beside the file and renames: a reader, and a machine that loses power, meets the old file or the new one.
fn write_atomically(file: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays one: what it points to is replaced.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let directory = file.parent().ok_or_else(|| io::Error::other("the file is in no directory"))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that the policy loader passes over what a crash may leave.
    let temporary = directory.join(format!(".{name}.new"));
    let kept = fs::metadata(&file).ok();
    let written = (|| {
        let mut output = OpenOptions::new().write(true).create(true).truncate(true).mode(NEW_FILE_MODE).open(&temporary)?;
        output.write_all(bytes)?;
        if let Some(metadata) = &kept {
            use std::os::unix::fs::MetadataExt as _;
            std::os::unix::fs::fchown(&output, Some(metadata.uid()), Some(metadata.gid()))?;
            output.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
        }
        output.sync_all()?;
        fs::rename(&temporary, &file)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
