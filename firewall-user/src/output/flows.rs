use super::{
    line,
    number::{bytes, duration},
    print, table,
};
use crate::api::{End, Flow};

/// `weir flows`.
pub fn flows(flows: &[Flow]) -> anyhow::Result<()> {
    if flows.is_empty() {
        return line("no flows");
    }
    let header =
        ["PROTO", "INITIATOR", "RESPONDER", "ZONES", "STATE", "FLAGS", "RULE", "APPLICATION", "BYTES", "RATE", "AGE", "IDLE", "LEFT"];
    let mut rows = table(&header, &[8, 9, 10, 11, 12]);
    for flow in flows {
        rows.add_row([
            flow.protocol.clone(),
            end(&flow.initiator),
            end(&flow.responder),
            format!("{}>{}", flow.initiator.zone, flow.responder.zone),
            flow.state.clone(),
            flow.flags.clone(),
            flow.rule.clone(),
            flow.application.clone().unwrap_or_else(|| "-".to_owned()),
            bytes(flow.bytes.sum()),
            format!("{}/s", bytes(flow.rates.bytes.sum())),
            duration(flow.age_seconds),
            duration(flow.idle_seconds),
            duration(flow.expires_in_seconds),
        ]);
    }
    print(&rows)
}

/// Address and port.
pub(super) fn end(end: &End) -> String {
    match (end.port, end.address.is_ipv6()) {
        (0, _) => end.address.to_string(),
        (port, true) => format!("[{}]:{port}", end.address),
        (port, false) => format!("{}:{port}", end.address),
    }
}
