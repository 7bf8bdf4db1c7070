//! An authority and one certificate for each end, made for one run by strongSwan's `pki`.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::command;

const KEY: [&str; 7] = ["--gen", "--type", "rsa", "--size", "2048", "--outform", "pem"];

/// Files in PEM. Keys can be read by root alone, and are in no argument.
#[derive(Debug)]
pub(super) struct Authority {
    directory: PathBuf,
    key: PathBuf,
    pub(super) certificate: PathBuf,
}

#[derive(Debug)]
pub(super) struct Identity {
    pub(super) key: PathBuf,
    pub(super) certificate: PathBuf,
}

impl Authority {
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let (key, certificate) = (directory.join("authority.key"), directory.join("authority.pem"));
        pki(&KEY, &key)?;
        let words =
            ["--self", "--type", "priv", "--in", text(&key)?, "--ca", "--dn", "CN=authority", "--lifetime", "1", "--outform", "pem"];
        pki(&words, &certificate)?;
        Ok(Self { directory: directory.to_owned(), key, certificate })
    }

    /// `usage`: what the certificate may be used for, `clientAuth` or `serverAuth`.
    pub(super) fn issue(&self, name: &str, usage: &str) -> Result<Identity> {
        let key = self.directory.join(format!("{name}.key"));
        let certificate = self.directory.join(format!("{name}.pem"));
        pki(&KEY, &key)?;
        let subject = format!("CN={name}");
        let authority = ["--issue", "--type", "priv", "--cacert", text(&self.certificate)?, "--cakey", text(&self.key)?];
        let subject = ["--in", text(&key)?, "--dn", &subject, "--san", name, "--flag", usage, "--lifetime", "1", "--outform", "pem"];
        pki(&[&authority[..], &subject].concat(), &certificate)?;
        Ok(Identity { key, certificate })
    }
}

fn pki(words: &[&str], out: &Path) -> Result<()> {
    let made = command::output(Command::new("pki").args(words))?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    file.and_then(|mut file| file.write_all(made.as_bytes())).with_context(|| format!("cannot write {}", out.display()))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

/// Copies a file to where a program looks for it.
pub(super) fn copy(from: &Path, directory: &Path, name: &str) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    fs::copy(from, directory.join(name)).map(drop).with_context(|| format!("cannot copy {}", from.display()))
}
