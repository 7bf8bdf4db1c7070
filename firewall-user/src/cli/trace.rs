use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};

use super::ask;
use crate::{
    api::{Failure, PacketToTrace, TraceRequest, Traced, TracedPacket},
    client::Client,
    instance::Instance,
    output,
    trace::{
        capture,
        packet::{self, Details, Packet},
    },
};

/// Show what becomes of a packet, and why, stage by stage
///
/// The packet is described in words, or is one of a capture. A second instance of the dataplane's own program judges it in the kernel, with the
/// policy in force and a copy of the live flow; nothing live changes.
///
/// Where nothing is said of the interface, packets come by the one that the route to their source leads to, and what has an address of the box
/// goes out by the route to its destination.
#[derive(Debug, Args)]
#[command(after_help = "\
Flags of TCP: syn (the default) syn-ack ack data fin rst rst-ack none, or letters of SAFRPUEC.
ICMP messages: echo-request (the default) echo-reply, or TYPE[/CODE].

Exit codes: 0 traced, whatever the verdict; 1 failed, or other than --expect says, or kernel and host differ; 2 wrong usage or a bad policy.

Examples:
  weir trace tcp 198.51.100.7 10.71.2.10:443
  weir trace eth0 tcp 198.51.100.7:40000 10.71.2.10:443 ack --seq 5000000
  weir trace udp 198.51.100.7 10.71.2.10:53 --policy ./next --expect drop
  weir trace --pcap problem.pcapng --verbose
  weir trace --pcap problem.pcap --json | jq '.packets[] | select(.verdict == \"drop\")'")]
pub(super) struct Arguments {
    /// The packet; with --pcap nothing but the interface
    #[arg(value_name = "[INTERFACE] PROTOCOL SOURCE[:PORT] DESTINATION[:PORT] [FLAGS]")]
    words: Vec<String>,
    /// Trace every packet of this capture, pcap or pcapng, in order
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Interface that every packet comes by
    #[arg(long, short, value_name = "INTERFACE")]
    interface: Option<String>,
    /// The box sends the packets, by that interface
    #[arg(long)]
    egress: bool,
    /// Judge by this policy, which is not in force: a directory of *.toml files, or one file, that the daemon can read
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
    /// Begin without the live flows
    #[arg(long)]
    fresh: bool,
    /// Sequence number (TCP, ESP, AH) [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "pcap")]
    seq: Option<u32>,
    /// Acknowledgement number [default: 0]
    #[arg(long, value_name = "N", conflicts_with = "pcap")]
    ack: Option<u32>,
    /// Window, as in the header [default: 65535]
    #[arg(long, value_name = "N", conflicts_with = "pcap")]
    window: Option<u16>,
    /// Bytes of data [default: 0]
    #[arg(long, value_name = "BYTES", conflicts_with = "pcap")]
    length: Option<u16>,
    /// Hop limit [default: 64]
    #[arg(long, value_name = "N", conflicts_with = "pcap")]
    ttl: Option<u8>,
    /// VLAN tag
    #[arg(long, value_name = "ID", conflicts_with = "pcap", value_parser = clap::value_parser!(u16).range(0..4096))]
    vlan: Option<u16>,
    /// Security parameter index of ESP or AH, in digits or as 0x… [default: 0x1000]
    #[arg(long, value_name = "SPI", conflicts_with = "pcap", value_parser = number)]
    spi: Option<u32>,
    /// Fail unless every packet passes, or is dropped
    #[arg(long, value_name = "VERDICT")]
    expect: Option<Expected>,
    /// Tell every packet's story, not only of those that are dropped
    #[arg(long, short)]
    verbose: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Expected {
    Pass,
    /// Answered packets are dropped too
    Drop,
}

fn number(text: &str) -> Result<u32, String> {
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u32::from_str_radix(digits, 16));
    parsed.map_err(|error| error.to_string())
}

impl Arguments {
    pub(super) fn execute(mut self, instance: &Instance) -> anyhow::Result<ExitCode> {
        self.take_interface()?;
        if self.egress && self.interface.is_none() {
            return Err(Failure::usage("--egress needs the interface the packets leave by").into());
        }
        let packets = self.packets()?;
        let policy = self.policy.as_ref().map(std::path::absolute).transpose()?;
        let request = TraceRequest { packets, interface: self.interface, egress: self.egress, policy, fresh: self.fresh };
        let traced: Traced = ask(Client::new(instance).post("/v1/trace", &request))?;
        if self.json {
            output::json(&traced)?;
        } else {
            for warning in &traced.warnings {
                eprintln!("{warning}");
            }
            output::trace(&traced, self.verbose)?;
        }
        Ok(verdict_of(&traced.packets, self.expect))
    }

    /// The interface may stand before the packet.
    fn take_interface(&mut self) -> Result<(), Failure> {
        let alone = self.pcap.is_some() && self.words.len() == 1;
        let before = self.words.len() > 3 && !packet::is_protocol(&self.words[0]) && packet::is_protocol(&self.words[1]);
        if !alone && !before {
            return Ok(());
        }
        let word = self.words.remove(0);
        match &self.interface {
            Some(said) if *said != word => Err(Failure::usage(format!("by {word} or by {said}? Say one interface"))),
            _ => {
                self.interface = Some(word);
                Ok(())
            }
        }
    }

    fn packets(&self) -> Result<Vec<PacketToTrace>, Failure> {
        let Some(pcap) = &self.pcap else {
            let Self { seq, ack, window, length, ttl, vlan, spi, .. } = *self;
            let packet = Packet::parse(&self.words, Details { seq, ack, window, length, ttl, vlan, spi })?;
            return Ok(vec![packet.frame()?]);
        };
        if !self.words.is_empty() {
            return Err(Failure::usage("a packet in words or a capture, not both"));
        }
        capture::read(pcap)
    }
}

/// 1 when the packets did not fare as expected, or kernel and host differ.
fn verdict_of(packets: &[TracedPacket], expected: Option<Expected>) -> ExitCode {
    let mut failed = false;
    for packet in packets {
        if let Some(disagreement) = &packet.disagreement {
            eprintln!("error: packet {}: kernel and host differ, which is a bug of weir: {disagreement}", packet.number);
            failed = true;
        }
        let passes = packet.verdict == "pass";
        if expected.is_some_and(|expected| (expected == Expected::Pass) != passes) {
            let fate = match &packet.reason {
                Some(reason) => format!("is dropped: {reason}"),
                None => "passes".to_owned(),
            };
            eprintln!("error: packet {} {fate}", packet.number);
            failed = true;
        }
    }
    ExitCode::from(u8::from(failed))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;

    #[test]
    fn the_packet_excludes_the_capture() {
        assert!(Cli::try_parse_from(["weir", "trace", "tcp", "192.0.2.1", "192.0.2.2:80", "--spi", "0x10", "-i", "eth0"]).is_ok());
        assert!(Cli::try_parse_from(["weir", "trace", "--pcap", "f", "--seq", "1"]).is_err());
        assert!(Cli::try_parse_from(["weir", "trace", "tcp", "a", "b", "--vlan", "4096"]).is_err());
        assert!(Cli::try_parse_from(["weir", "trace", "tcp", "a", "b", "--expect", "maybe"]).is_err());
    }
}
