//! How many instructions the kernel's verifier looks at for each program. It gives up at a million; long before that a program that grows
//! is one that will not load on another kernel.
//!
//! `UPDATE_BUDGET=1` rewrites the table.

mod root;

use std::{collections::BTreeMap, env, fs, path::Path};

use aya::{Ebpf, programs::Program};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-dataplane"));

const TABLE: &str = "tests/verifier_budget.txt";
const MOST: u32 = 500_000;
/// Growth that needs a look, in percent.
const TOLERATED: u32 = 10;

fn parse(table: &str) -> BTreeMap<String, u32> {
    let rows = table.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    rows.map(|row| {
        let mut words = row.split_whitespace();
        let (name, count) = (words.next().expect("a name"), words.next().expect("a count"));
        (name.to_owned(), count.parse().expect("a number"))
    })
    .collect()
}

/// Loads the program and tells what that took.
fn verified(name: &str, program: &mut Program) -> u32 {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => panic!("{name} is a program of another kind"),
    }
    .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let info = match program {
        Program::Xdp(program) => program.info(),
        Program::SchedClassifier(program) => program.info(),
        _ => panic!("{name} is a program of another kind"),
    };
    info.ok().and_then(|info| info.verified_instruction_count()).expect("the kernel tells (5.16 and newer)")
}

#[test]
fn programs_stay_within_their_budget() {
    if !root::available() {
        return;
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut ebpf = Ebpf::load(OBJECT).expect("the object loads");
    let counts: BTreeMap<String, u32> = ebpf.programs_mut().map(|(name, program)| (name.to_owned(), verified(name, program))).collect();
    assert!(counts.len() >= 2, "the object has programs for both directions");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    if env::var_os("UPDATE_BUDGET").is_some() {
        let rows: String = counts.iter().map(|(name, count)| format!("{name} {count} {release}\n")).collect();
        fs::write(&path, format!("# program, instructions the verifier looked at, kernel it was\n{rows}"))
            .expect("the table can be written");
    }
    let budget = parse(&fs::read_to_string(&path).expect("the table can be read; UPDATE_BUDGET=1 writes it"));
    for (name, count) in counts {
        println!("{name}: {count} instructions on {release}");
        let allowed = budget.get(&name).unwrap_or_else(|| panic!("{name} is not in {TABLE}"));
        assert!(count <= MOST, "{name}: {count} instructions, more than {MOST}");
        assert!(count <= allowed + allowed * TOLERATED / 100, "{name}: {count} instructions, more than {TOLERATED} % above {allowed}");
    }
}
