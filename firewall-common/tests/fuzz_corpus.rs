//! The inputs the fuzzer begins with: they are there, they are small, and each property of `testing::fuzz` holds of them.
//!
//! `UPDATE_CORPUS=1` writes them anew, from the stream of packets and the table of cases. Inputs that once broke a property lie beside them
//! under a name of their own, and stay.

use std::{env, fs, path::PathBuf};

use firewall_common::testing::fuzz::{TARGETS, seeds};

const MOST_BYTES: u64 = 300 << 10;

fn directory(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn write() {
    let all = [("parser", seeds::parser()), ("options", seeds::options()), ("streams", seeds::streams())];
    for (target, inputs) in all {
        let directory = directory(target);
        fs::create_dir_all(&directory).expect("the directory can be made");
        for (number, input) in inputs.iter().enumerate() {
            fs::write(directory.join(format!("seed-{number:03}")), input).expect("an input can be written");
        }
    }
}

#[test]
fn every_property_holds_of_the_corpus() {
    if env::var_os("UPDATE_CORPUS").is_some() {
        write();
    }
    let mut bytes = 0;
    for (target, property) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(directory(target)).expect("the target has a corpus") {
            let path = entry.expect("an entry").path();
            println!("{}", path.display());
            let input = fs::read(&path).expect("an input");
            property(&input);
            bytes += input.len() as u64;
            inputs += 1;
        }
        assert!(inputs >= 20, "{target} begins with {inputs} inputs");
    }
    assert!(bytes <= MOST_BYTES, "{bytes} bytes of corpus");
}
