//! What `weir` prints for people: tables, and JSON for programs.

mod advise;
mod bypass;
mod counters;
mod diff;
mod events;
mod flows;
mod history;
mod import;
pub(crate) mod number;
mod policy;
mod profiles;
mod quality;
mod sets;
mod status;
mod trace;

use std::io::{self, Write as _};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

pub use advise::{advice_applied, advised};
pub use bypass::bypass;
pub use counters::counters;
pub use diff::diff;
pub use events::event;
pub use flows::flows;
pub use history::history;
pub use import::not_carried_over;
pub use policy::policy;
pub use profiles::profiles;
pub use quality::{flow_quality, quality};
pub use sets::{set, set_changed, sets};
pub use status::status;
pub use trace::trace;

/// Prints JSON, indented.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Prints one line.
pub fn line(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Prints text that ends its last line itself.
pub fn text(text: &str) -> anyhow::Result<()> {
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// A table without lines: columns two blanks apart, so that `awk` and people read it alike. Columns in `right` hold numbers.
fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Prints a table without blanks at the ends of lines.
fn print(table: &Table) -> anyhow::Result<()> {
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    line(&lines.join("\n"))
}
