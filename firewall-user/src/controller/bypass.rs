//! Bypass rules: `weir bypass` edits the policy files, comments kept, and applies the whole policy. On any failure the file is as before.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use firewall_common::{flow::Inspection, rule::Action};
use jiff::Timestamp;

use super::{
    Controller, EditLock,
    change::{Asked, Read},
    held,
    reload::{self, refused},
    usage::{Used, seconds_since},
};
use crate::{
    api::{Applied, BypassAdd, BypassAdded, BypassRemove, BypassRemoved, BypassRule, Failure, How, Kind, RuleInForce},
    files,
    policy::{
        self, Source,
        edit::{self, EditError, NewRule},
    },
};

/// Where new rules go: before every other file, so that no broader rule takes their packets first.
const DEFAULT_FILE: &str = "00-bypass.toml";
/// First lines of a file that `weir bypass add` makes.
const HEADER: &str = "# Flows that pass without TCP state checks. Written by `weir bypass add`; edits by hand are kept.\n";

/// A file about to be changed, and the policy as it will be.
struct Edit {
    file: PathBuf,
    text: String,
    read: Read,
}

impl Controller {
    /// The bypass rules in force.
    pub fn bypass_rules(&self) -> Result<Vec<BypassRule>, Failure> {
        self.sweep.run(&self.maps, &self.live)?;
        let rules = self.rules_in_force(|rule| rule.enabled && rule.inspection == Inspection::Bypass)?;
        let needs = self.needs()?;
        let now = Timestamp::now();
        Ok(rules.into_iter().map(|rule| describe(needs.get(&rule.name), rule, now)).collect())
    }

    /// Adds a bypass rule to a policy file and applies the policy.
    pub fn bypass_add(&self, request: &BypassAdd, uid: Option<u32>) -> Result<BypassAdded, Failure> {
        let _editing = held(&self.edit);
        let _lock = EditLock::take(&self.instance)?;
        let path = self.policy_to_edit()?;
        let rule = new_rule(request)?;
        let sources = policy::read_sources(&path).map_err(|errors| refused(&errors))?;
        let file = self.file_for(request, &path)?;
        let edit = edited(sources, file, |text| edit::add_rule(text, &rule, request.before.as_deref()))?;
        let file = edit.file.display().to_string();
        let applied = self.write_and_apply(&path, edit, Asked::by(How::Bypass, uid))?;
        let expires = rule.expires.map(|at| at.to_string());
        Ok(BypassAdded { name: request.name.clone(), file, generation: applied.generation, warnings: applied.warnings, expires })
    }

    /// Removes a bypass rule, and no other, from its file and applies the policy.
    pub fn bypass_remove(&self, request: &BypassRemove, uid: Option<u32>) -> Result<BypassRemoved, Failure> {
        let name = request.name.as_str();
        let _editing = held(&self.edit);
        let _lock = EditLock::take(&self.instance)?;
        let path = self.policy_to_edit()?;
        let sources = policy::read_sources(&path).map_err(|errors| refused(&errors))?;
        let (present, _) = policy::load_sources(sources.clone(), None).map_err(|errors| refused(&errors))?;
        let rule = present.rules().iter().find(|rule| rule.name == name).ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("there is no rule `{name}`")).hint("`weir bypass list` shows the bypass rules")
        })?;
        if rule.inspection != Inspection::Bypass {
            let error = format!("rule `{name}` is no bypass rule: its inspection is {}", rule.inspection.name());
            return Err(Failure::new(Kind::Conflict, error).hint(format!("it is in {}:{}", rule.file.display(), rule.line)));
        }
        let session = if request.cut_session { None } else { request.session };
        let asked = Asked { session, ..Asked::by(How::Bypass, uid) };
        let edit = edited(sources, rule.file.clone(), |text| edit::remove_rule(text, name))?;
        let file = edit.file.display().to_string();
        let applied = self.write_and_apply(&path, edit, asked)?;
        Ok(BypassRemoved { name: name.to_owned(), file, generation: applied.generation })
    }

    /// Where the policy in force was read, if its files still say what is in force.
    fn policy_to_edit(&self) -> Result<PathBuf, Failure> {
        let (path, put_back) = {
            let state = held(&self.policy);
            state.nothing_pending()?;
            let in_force = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
            (in_force.path.clone(), in_force.put_back.then(|| in_force.policy.to_string()))
        };
        // Of what was put back the files may say something else, which an edit must not bring along.
        match put_back {
            Some(text) if reload::read(&path)?.policy.to_string() != text => {
                let path = path.display();
                let error = format!("the policy in force was put back, and {path} says something else");
                Err(Failure::new(Kind::Conflict, error).hint(format!("put it right, then `weir policy apply {path}`")))
            }
            _ => Ok(path),
        }
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
    fn write_and_apply(&self, path: &Path, edit: Edit, asked: Asked) -> Result<Applied, Failure> {
        let failed = |error: io::Error| Failure::failed(format!("{} cannot be written: {error}", edit.file.display()));
        let before = match fs::read(&edit.file) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        files::replace(&edit.file, edit.text.as_bytes()).map_err(failed)?;
        self.apply_read(path, edit.read, asked).inspect_err(|_| {
            let restored = match before {
                Some(bytes) => files::replace(&edit.file, &bytes),
                None => fs::remove_file(&edit.file),
            };
            if let Err(error) = restored {
                log::error!("{} could not be put back: {error}", edit.file.display());
            }
        })
    }
}

/// A bypass rule in force, with what is known of its use, and since when.
fn describe(known: Option<&(Used, Timestamp)>, rule: RuleInForce, now: Timestamp) -> BypassRule {
    let (used, since) = known.map_or((None, now), |(used, since)| (Some(used), *since));
    let last_needed = used.and_then(|used| used.last_needed);
    let ends: Option<Timestamp> = rule.expires.as_ref().and_then(|at| at.parse().ok());
    BypassRule {
        name: rule.name,
        file: rule.file,
        line: rule.line,
        from: rule.from,
        to: rule.to,
        service: rule.service,
        guard: rule.guard,
        because: rule.because,
        expires: rule.expires,
        expired: rule.expired,
        expires_in_seconds: ends.map(|at| seconds_since(now, at)),
        flows: rule.flows,
        hits: rule.hits,
        last_hit: rule.last_hit,
        last_hit_seconds_ago: rule.last_hit_seconds_ago,
        needed: used.map_or(0, |used| used.needed),
        last_needed: last_needed.map(|at| at.to_string()),
        last_needed_seconds_ago: last_needed.map(|at| seconds_since(at, now)),
        needed_for: used.and_then(|used| used.needed_for.clone()),
        known_since: since.to_string(),
        known_for_seconds: seconds_since(since, now),
        not_needed_for_seconds: seconds_since(last_needed.map_or(since, |at| at.max(since)), now),
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
        guards: request.guard.clone(),
        idle_timeout: request.idle_timeout.clone(),
        expires,
        because: request.because.clone(),
        ..NewRule::default()
    })
}

/// Changes one file's text and checks the whole policy as it would be then.
fn edited(mut sources: Vec<Source>, file: PathBuf, change: impl Fn(&str) -> Result<String, EditError>) -> Result<Edit, Failure> {
    let present = sources.iter().find(|source| source.path == file).map_or(HEADER, |source| &source.text);
    let text = change(present).map_err(|error| edit_failed(&file, &error))?;
    policy::replace_source(&mut sources, Source { path: file.clone(), text: text.clone() });
    Ok(Edit { file, text, read: reload::check(sources)? })
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
