//! `[applications]`: where what flows carry is looked for, and by what it is told.

use firewall_common::application::{
    Applications,
    settings::{MOST_CTCP_PORTS, MOST_FAKE_TCP_SIGNS, MOST_IKE_TCP_PORTS, MOST_IPSEC_UDP_PORTS},
};
use toml::de::DeTable;

use super::{
    diagnostic::{Report, quoted},
    document::{Value, place},
    key::{self, Fallback, Key, Kind},
    pattern,
    print::{self, Table},
};

/// The keys of the table, in the order they are printed.
pub(super) const KEYS: [Key; 5] = [
    ports("ctcp-ports", MOST_CTCP_PORTS, "[10000, 10001]", "TCP ports where Cisco's IPsec over TCP is looked for. Without it: 10000."),
    Key::new("ctcp-magic", Kind::Matching(pattern::magic), "\"21456c6910\"", "Bytes 8 to 12 of cTCP's trailer, in hex digits.")
        .or(Fallback::Word("21456c6910")),
    ports("ike-tcp-ports", MOST_IKE_TCP_PORTS, "[443, 4500]", "TCP ports where IKE over TCP (RFC 9329) is looked for. Without it: 4500."),
    ports("ipsec-udp-ports", MOST_IPSEC_UDP_PORTS, "10000", "UDP ports where Cisco's IPsec over UDP is looked for. Without it: 10000."),
    Key::new(
        "fake-tcp-signs",
        Kind::Number { least: 0, most: MOST_FAKE_TCP_SIGNS as u32 },
        "5",
        "How many times in a row a connection must do what no TCP does to be taken for fake TCP; 0 for never.",
    )
    .or(Fallback::Number(Applications::DEFAULT.fake_tcp_signs as u32)),
];

const fn ports(name: &'static str, most: usize, example: &'static str, help: &'static str) -> Key {
    Key::new(name, Kind::Numbers { least: 1, most: u16::MAX as u32, count: most }, example, help)
}

/// Reads the table into what holds without it.
pub(super) fn read(file: usize, table: &DeTable<'_>, settings: &mut Applications, report: &mut Report<'_>) {
    for (key, value) in table {
        let (key_place, key) = (place(file, key.span()), key.get_ref().as_ref());
        let value = Value::new(file, value);
        match key::listed(&KEYS, key) {
            "ctcp-ports" => read_ports("ctcp-ports", value, &mut settings.ctcp_ports, report),
            "ctcp-magic" => read_magic(value, &mut settings.ctcp_magic, report),
            "ike-tcp-ports" => read_ports("ike-tcp-ports", value, &mut settings.ike_tcp_ports, report),
            "ipsec-udp-ports" => read_ports("ipsec-udp-ports", value, &mut settings.ipsec_udp_ports, report),
            "fake-tcp-signs" => read_signs(value, &mut settings.fake_tcp_signs, report),
            _ => {
                let message = format!("unknown key {} in [applications]", quoted(key));
                report.unknown_word(key_place, message, key, key::names(&KEYS));
            }
        }
    }
}

fn read_ports<const N: usize>(key: &str, value: Value<'_>, into: &mut [u16; N], report: &mut Report<'_>) {
    let numbers = value.numbers(key, report);
    if numbers.len() > N {
        return report.error(value.place, format!("{key} names {} ports, there can be {N}", numbers.len()));
    }
    let mut ports = Vec::new();
    for (number, at) in numbers {
        match u16::try_from(number) {
            Ok(0) | Err(_) => report.error(at, format!("{number} in {key} is no port: ports lie between 1 and 65535")),
            Ok(port) if ports.contains(&port) => {}
            Ok(port) => ports.push(port),
        }
    }
    ports.sort_unstable();
    *into = [0; N];
    into[..ports.len()].copy_from_slice(&ports);
}

fn read_magic(value: Value<'_>, into: &mut [u8; 5], report: &mut Report<'_>) {
    let Some(text) = value.string("ctcp-magic", report) else { return };
    match bytes(text.value) {
        Some(magic) => *into = magic,
        None => {
            let message = format!("{} is not five bytes in hex digits", quoted(text.value));
            report.error_with_hint(text.place, message, format!("cTCP as it is known has ctcp-magic = {}", magic(&Applications::DEFAULT)));
        }
    }
}

/// The bytes of ten hex digits.
fn bytes(text: &str) -> Option<[u8; 5]> {
    let number = u64::from_str_radix(text, 16).ok()?;
    let plain = text.len() == 10 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let [.., a, b, c, d, e] = number.to_be_bytes();
    plain.then_some([a, b, c, d, e])
}

fn read_signs(value: Value<'_>, into: &mut u8, report: &mut Report<'_>) {
    let Some(number) = value.number("fake-tcp-signs", report) else { return };
    match u8::try_from(number) {
        Ok(signs) if signs <= MOST_FAKE_TCP_SIGNS => *into = signs,
        _ => {
            let message = format!("fake-tcp-signs can be {MOST_FAKE_TCP_SIGNS} at most");
            report.error_with_hint(value.place, message, "write 0 to take no connection for fake TCP");
        }
    }
}

/// What differs from what holds without the table.
pub(super) fn table(settings: &Applications) -> Table {
    let built_in = Applications::DEFAULT;
    let mut table = Table::default();
    let mut ports = |key, ports: &[u16], built_in: &[u16]| {
        if ports != built_in {
            let written: Vec<String> = ports.iter().filter(|port| **port != 0).map(ToString::to_string).collect();
            table.key(key, format_args!("[{}]", written.join(", ")));
        }
    };
    ports("ctcp-ports", &settings.ctcp_ports, &built_in.ctcp_ports);
    ports("ike-tcp-ports", &settings.ike_tcp_ports, &built_in.ike_tcp_ports);
    ports("ipsec-udp-ports", &settings.ipsec_udp_ports, &built_in.ipsec_udp_ports);
    if settings.ctcp_magic != built_in.ctcp_magic {
        table.key("ctcp-magic", magic(settings));
    }
    if settings.fake_tcp_signs != built_in.fake_tcp_signs {
        table.key("fake-tcp-signs", settings.fake_tcp_signs);
    }
    table
}

fn magic(settings: &Applications) -> String {
    let digits: String = settings.ctcp_magic.iter().map(|byte| format!("{byte:02x}")).collect();
    print::string(&digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_bytes_are_ten_digits() {
        assert_eq!(bytes("21456c6910"), Some([0x21, 0x45, 0x6c, 0x69, 0x10]));
        assert_eq!(bytes("0000000001"), Some([0, 0, 0, 0, 1]));
        for wrong in ["", "21456c69", "21456c691000", "+1456c6910", "21456c691g", "21 45 6c 69 10"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_holds_anyway_is_not_printed() {
        assert!(table(&Applications::DEFAULT).into_keys().is_empty());
        let other = Applications { ctcp_ports: [0; MOST_CTCP_PORTS], fake_tcp_signs: 0, ..Applications::DEFAULT };
        assert_eq!(table(&other).into_keys(), [("ctcp-ports", "[]".to_owned()), ("fake-tcp-signs", "0".to_owned())]);
    }
}
