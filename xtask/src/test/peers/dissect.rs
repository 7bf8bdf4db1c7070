//! What tshark reads in what tcpdump has seen.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    command,
    netns::{Namespace, process::Process},
    test::lab::wait_for,
};

const PATIENCE: Duration = Duration::from_secs(10);
/// tcpdump writes what the kernel has handed over, which it does this often.
const SETTLE: Duration = Duration::from_millis(1500);

/// A tcpdump that writes to a file.
#[derive(Debug)]
pub(super) struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// From before this returns.
    pub(super) fn start(namespace: &Namespace, interface: &str, filter: &str, file: PathBuf) -> Result<Self> {
        let mut tcpdump = namespace.command("tcpdump");
        // `-Z root`: it would give up its privileges, and with them the right to write here.
        tcpdump.args(["-q", "-U", "-Z", "root", "-B", "16384", "-i", interface, "-w"]).arg(&file).arg(filter);
        let process = Process::spawn("tcpdump", tcpdump.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
        // The file's header is written when the filter is in place.
        wait_for("tcpdump to listen", || Ok(file.metadata().is_ok_and(|file| file.len() > 0)))?;
        Ok(Self { process, file })
    }

    pub(super) fn finish(self) -> Result<PathBuf> {
        thread::sleep(SETTLE);
        let status = self.process.terminate(PATIENCE)?;
        ensure!(status.success(), "tcpdump did not end well: {status}");
        Ok(self.file)
    }
}

/// One packet of IPsec over TCP with ESP inside, by tshark's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encapsulated {
    /// The server's port or the client's.
    pub(super) source_port: u16,
    pub(super) spi: u32,
    pub(super) sequence: u32,
    /// Of the trailer: it has 16 bits of the sequence.
    pub(super) trailer_sequence: u16,
    pub(super) magic: String,
    pub(super) protocol: u8,
}

const FIELDS: [&str; 6] = ["tcp.srcport", "esp.spi", "esp.sequence", "tcpencap.seq", "tcpencap.magic", "tcpencap.proto"];

/// Packets in which tshark by itself sees ESP in IPsec over TCP.
pub(super) fn encapsulated(file: &Path) -> Result<Vec<Encapsulated>> {
    read(file, "tcpencap && esp", &FIELDS)?.lines().map(|line| packet(line).with_context(|| format!("tshark printed `{line}`"))).collect()
}

/// How many packets meet tshark's filter.
pub(super) fn count(file: &Path, filter: &str) -> Result<usize> {
    Ok(read(file, filter, &["frame.number"])?.lines().count())
}

fn read(file: &Path, filter: &str, fields: &[&str]) -> Result<String> {
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-r"]).arg(file).args(["-Y", filter, "-T", "fields"]);
    tshark.args(fields.iter().flat_map(|field| ["-e", field]));
    command::output(&mut tshark)
}

fn packet(line: &str) -> Option<Encapsulated> {
    let mut columns = line.split('\t');
    let mut number = || {
        let column = columns.next()?;
        column.strip_prefix("0x").map_or_else(|| column.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok())
    };
    let (source_port, spi, sequence, trailer_sequence) = (number()?, number()?, number()?, number()?);
    let (magic, protocol) = (columns.next()?.to_owned(), columns.next()?);
    let protocol = protocol.strip_prefix("0x").map_or_else(|| protocol.parse().ok(), |digits| u8::from_str_radix(digits, 16).ok())?;
    Some(Encapsulated {
        source_port: source_port.try_into().ok()?,
        spi,
        sequence,
        trailer_sequence: trailer_sequence.try_into().ok()?,
        magic,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_fields_is_a_packet() {
        let read = packet("40001\t0x0c710001\t66000\t464\t2145c6910\t50").expect("a packet");
        let expected = Encapsulated {
            source_port: 40_001,
            spi: 0x0c71_0001,
            sequence: 66_000,
            trailer_sequence: 464,
            magic: "2145c6910".to_owned(),
            protocol: 50,
        };
        assert_eq!(read, expected);
        assert_eq!(packet("40001\t\t\t\t\t"), None, "a packet without ESP");
    }
}
