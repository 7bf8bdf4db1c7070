//! The documents of the repository, and the policies in them and beside them.

use std::path::{Path, PathBuf};

use crate::texts::{files, read};

/// A fenced block of a document.
#[derive(Debug)]
pub struct Block {
    pub file: PathBuf,
    /// Of the opening fence, from 1.
    pub line: usize,
    /// What follows the opening fence.
    pub info: String,
    pub text: String,
}

impl Block {
    pub fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }

    /// Settings of the daemon say so in their first line; all other TOML is policy.
    pub fn is_settings(&self) -> bool {
        self.text.starts_with("# weir.toml\n")
    }
}

/// Every document for people, in order.
pub fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in ["..", "../docs", "../policies"] {
        found.extend(files(Path::new(directory), "md"));
    }
    assert!(found.len() >= 10, "{found:?}");
    found
}

/// The fenced blocks of a document. A fence may be indented, as in a list.
pub fn blocks(file: &Path) -> Vec<Block> {
    let text = read(file);
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let margin = line.len() - line.trim_start().len();
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let mut block = String::new();
        let closed = lines.by_ref().any(|(_, line)| {
            let end = line.trim() == "```";
            if !end {
                block += line.get(margin..).unwrap_or_default();
                block.push('\n');
            }
            end
        });
        assert!(closed, "{}:{}: the block has no end", file.display(), index + 1);
        blocks.push(Block { file: file.to_path_buf(), line: index + 1, info: info.to_owned(), text: block });
    }
    blocks
}
