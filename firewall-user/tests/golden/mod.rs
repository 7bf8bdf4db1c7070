//! Golden files: what is expected lies beside what it is of.

use std::{env, fs, path::Path};

/// Compares with a golden file, or writes it; `None` means that there must be no such file.
pub fn check(path: &Path, extension: &str, text: Option<String>, failures: &mut Vec<String>) {
    let golden = path.with_extension(extension);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        match text {
            Some(text) => fs::write(&golden, text).expect("the golden file can be written"),
            None => drop(fs::remove_file(&golden)),
        }
        return;
    }
    let expected = fs::read_to_string(&golden).ok();
    if expected != text {
        let none = || "(nothing)\n".to_owned();
        let (expected, text) = (expected.unwrap_or_else(none), text.unwrap_or_else(none));
        failures.push(format!("{}\n--- expected\n{expected}--- found\n{text}", golden.display()));
    }
}
