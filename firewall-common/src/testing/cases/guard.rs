//! Guards: what proves that a stream is IPsec over TCP, and the window over ESP.

use super::{Row, case, case_v4, row};

/// A script in which both sides have proven that their stream is IPsec over TCP, under these guards, before the rest of it.
macro_rules! proven {
    ($guards:literal, $rest:literal) => {
        concat!(
            "
        policy guard ",
            $guards,
            "
        HS
        C:A 1/1 +100 ctcp=4096/1      -> pass established
        S:A 1/101 +100 ctcp=8192/1    -> pass established
        C:A 101/101 +100 ctcp=4096/2  -> pass established
        S:A 101/201 +100 ctcp=8192/2  -> pass bypass
",
            $rest
        )
    };
}

pub(super) const ROWS: &[Row] = &[
    row(
        "own/guard-ctcp",
        &[
            case(
                "own/guard-ctcp/proven",
                "
        policy guard ctcp
        # What only looks like the middle of such a stream begins nothing.
        C:A 1/1 +100 ctcp=4096/1      -> drop:tcp-not-syn none
        HS
        C:A 1/1 +100 ctcp=4096/1      -> pass established
        S:A 1/101 +100 ctcp=8192/1    -> pass established
        C:A 101/101 +100 ctcp=4096/2  -> pass established
        # Not yet: the window still counts.
        C:A 900000/101 +100 ctcp=4096/3 -> drop:tcp-seq-past-win established
        S:A 101/201 +100 ctcp=8192/2  -> pass bypass
        # From here on nothing is compared but the trailer.
        C:A 900000/201 +100 ctcp=4096/3 -> needed:tcp-seq-past-win bypass
        S:A 900000/201 +100 ctcp=8192/3 -> pass bypass
        # Data without one, with too little before it, or none at all in one byte.
        C:A 301/201 +100              -> drop:guard-no-trailer bypass
        C:A 301/201 +20               -> drop:guard-no-trailer bypass
        C:A 301/201 +1                -> drop:guard-no-trailer bypass
        C:A 301/201 +100 ctcp=4096/4 magic -> drop:guard-no-trailer bypass
        C:A 301/201 +100 ctcp=4096/4 trailer -> drop:guard-bad-trailer bypass
        C:A 301/201 +100 ctcp=0/4     -> drop:guard-esp-spi bypass
        C:A 301/201 +100 ctcp=255/4   -> drop:guard-esp-spi bypass
        C:A 301/201 +26 ctcp=4096/4   -> drop:guard-esp-short bypass
        # Without data there is nothing to judge.
        C:A 301/201                   -> pass bypass
        S:A 201/301                   -> pass bypass
        # IKE has its UDP header with it.
        C:A 301/201 +100 ctcp-ike     -> pass bypass
        C:A 301/201 +100 ctcp-ike bad-ike -> drop:guard-ike-bad bypass
        # Without guard `esp` a repeated number is none of its business.
        C:A 900000/201 +100 ctcp=4096/3 -> pass bypass
        C:A 301/201 +100 ctcp=4096/4 zone=2 -> drop:wrong-zone bypass
    ",
            ),
            case_v4(
                "own/guard-ctcp/fragments",
                proven!(
                    "ctcp",
                    "
        # The trailer is in the last one, and a first one is judged alone.
        C:A 201/201 +100 ctcp=4096/3 frag=0:64+ -> drop:guard-no-trailer bypass
        C:A 201/201 +100 ctcp=4096/3 frag=64:56 -> drop:fragment-no-first
    "
                ),
            ),
            case(
                "own/guard-ctcp/one-side-proves-nothing",
                "
        policy guard ctcp
        HS
        C:A 1/1 +100 ctcp=4096/1 x9   -> pass established
        C:A 900000/1 +100 ctcp=4096/9 -> drop:tcp-seq-past-win established
        # One segment of the other side, and it is proven.
        S:A 1/901 +100 ctcp=8192/1    -> pass bypass
    ",
            ),
            case(
                "own/guard-ctcp/not-in-a-row",
                "
        policy guard ctcp
        HS
        C:A 1/1 +100 ctcp=4096/1      -> pass established
        S:A 1/101 +100 ctcp=8192/1    -> pass established
        C:A 101/101 +100 ctcp=4096/2  -> pass established
        # A backup on the same port: strict, and it passes.
        S:A 101/201 +100              -> pass established
        C:A 201/201 +100 ctcp=4096/3  -> pass established
        S:A 201/301 +100 ctcp=8192/2  -> pass established
        C:A 900000/301 +100           -> drop:tcp-seq-past-win established
    ",
            ),
            case(
                "own/guard-ctcp/back-to-strict",
                proven!(
                    "ctcp",
                    "
        # However many of one side: who forges them does not put it back.
        C:A 201/201 +100 x5           -> drop:guard-no-trailer bypass
        C:A 201/201 +100 ctcp=4096/3  -> pass bypass
        C:A 301/201 +100 x3           -> drop:guard-no-trailer bypass
        S:A 201/301 +100              -> drop:guard-no-trailer established
        # Both sides: strict again, whose numbers are learned anew.
        C:A 301/201 +100              -> pass established
        S:A 201/401 +100              -> pass established
        C:A 900000/301 +100           -> drop:tcp-seq-past-win established
    "
                ),
            ),
            case(
                "own/guard-ctcp/new-handshake",
                proven!(
                    "ctcp",
                    "
        # Anybody may forge a SYN: it changes nothing.
        C:S 700000                    -> pass bypass
        C:A 201/201 +100 ctcp=4096/3  -> pass bypass
        S:SA 800000/700001            -> pass established
        C:A 700001/800001 +100        -> pass established
        S:A 800001/700101 +100        -> pass established
    "
                ),
            ),
            case(
                "own/guard-ctcp/another-policy",
                proven!(
                    "ctcp",
                    "
        # What is proven stays so under the same guard.
        policy guard ctcp
        C:A 900000/201 +100 ctcp=4096/3 -> pass bypass
        C:A 900100/201 +100           -> drop:guard-no-trailer bypass
        policy strict
        C:A 900100/201 +100           -> pass established
        # A stream that was bypassed must prove itself.
        policy bypass
        C:A 900200/201 +100           -> pass bypass
        policy guard ctcp
        C:A 900300/201 +100           -> pass established
    "
                ),
            ),
        ],
    ),
    row(
        "own/guard-esp",
        &[
            case(
                "own/guard-esp/window",
                "
        policy guard esp
        # Before both sides were heard there is no window, only what no packet may be.
        C:esp=4096/0 +100             -> drop:guard-esp-seq-zero none
        C:esp=255/1 +100              -> drop:guard-esp-spi none
        C:esp=4096/1 +100             -> pass single
        S:esp=8192/1 +100             -> pass stream
        C:esp=4096/2 +100             -> pass stream
        C:esp=4096/2 +100             -> drop:guard-esp-replay stream
        C:esp=4096/200 +100           -> pass stream
        C:esp=4096/136 +100           -> drop:guard-esp-replay stream
        C:esp=4096/137 +100           -> pass stream
        C:esp=4096/137 +100           -> drop:guard-esp-replay stream
        C:esp=4096/0 +100             -> drop:guard-esp-seq-zero stream
        C:esp=4096/4000000000 +100    -> drop:guard-esp-replay stream
        C:esp=4096/2000000000 +100    -> drop:guard-esp-jump stream
        # The other direction has its own.
        S:esp=8192/137 +100           -> pass stream
        S:esp=8192/137 +100           -> drop:guard-esp-replay stream
        # What the wrong side sends teaches nothing.
        C:esp=4096/201 +100 zone=2    -> drop:wrong-zone stream
        C:esp=4096/201 +100           -> pass stream
    ",
            ),
            case(
                "own/guard-esp/wrap",
                "
        policy guard esp
        C:esp=4096/1 +100             -> pass single
        S:esp=8192/1 +100             -> pass stream
        # An extended number whose lower half goes round.
        C:esp=4096/4294967290 +100    -> pass stream
        C:esp=4096/4294967295 +100    -> pass stream
        C:esp=4096/0 +100             -> pass stream
        C:esp=4096/5 +100             -> pass stream
        C:esp=4096/4294967294 +100    -> pass stream
        C:esp=4096/4294967295 +100    -> drop:guard-esp-replay stream
        C:esp=4096/0 +100             -> drop:guard-esp-seq-zero stream
        C:esp=4096/4000000000 +100    -> drop:guard-esp-replay stream
    ",
            ),
            case(
                "own/guard-esp/rekey",
                "
        policy guard esp
        C:esp=4096/1 +100             -> pass single
        S:esp=8192/1 +100             -> pass stream
        C:esp=4096/2 +100 x17         -> pass stream
        # Not known, and not as a new one begins.
        C:esp=4097/2000 +100          -> drop:guard-esp-spi stream
        S:esp=8192/2 +100             -> pass stream
        C:esp=4097/1 +100             -> pass stream
        C:esp=4098/1 +100             -> drop:guard-esp-spi stream
        S:esp=8193/1 +100             -> pass stream
        C:esp=4097/2 +100             -> pass stream
        # The old one goes on for what is under way, the next one may begin.
        C:esp=4097/2 +100             -> drop:guard-esp-replay stream
        C:esp=4096/60000 +100         -> pass stream
        C:esp=4098/1 +100             -> pass stream
    ",
            ),
            case(
                "own/guard-esp/another-policy",
                "
        policy guard esp
        C:esp=4096/1 +100             -> pass single
        S:esp=8192/1 +100             -> pass stream
        C:esp=4096/2 +100             -> pass stream
        # The same guard goes on where it was.
        policy guard esp
        C:esp=4096/2 +100             -> drop:guard-esp-replay stream
        # What passes without it nobody follows: with it again the window begins anew, in both directions.
        policy strict
        C:esp=4096/2 +100             -> pass stream
        C:esp=4096/200000 +100        -> pass stream
        policy guard esp
        C:esp=4096/200001 +100        -> pass stream
        C:esp=4096/200001 +100        -> drop:guard-esp-replay stream
        S:esp=8193/4000000 +100       -> pass stream
        S:esp=8193/4000000 +100       -> drop:guard-esp-replay stream
    ",
            ),
            case(
                "own/guard-esp/udp",
                "
        policy guard esp
        C:udp dport=4500 bytes=0000100000000001 +64 -> pass single
        S:udp sport=4500 bytes=0000200000000001 +64 -> pass stream
        C:udp dport=4500 bytes=0000100000000002 +64 -> pass stream
        C:udp dport=4500 bytes=0000100000000002 +64 -> drop:guard-esp-replay stream
        # The keepalive, IKE behind its marker, and what is neither.
        C:udp dport=4500 bytes=ff size=1 -> pass stream
        C:udp dport=4500 bytes=fe size=1 -> drop:guard-esp-short stream
        C:udp dport=4500 size=0       -> drop:guard-esp-short stream
        C:udp dport=4500 bytes=00001000000003 size=7 -> drop:guard-esp-short stream
        C:udp dport=4500 bytes=0000000011223344556677880000000000000000212022080000000000000040 size=68 -> pass stream
        # Some clients add 16 bytes.
        C:udp dport=4500 bytes=0000000011223344556677880000000000000000212022080000000000000040 size=84 -> pass stream
        C:udp dport=4500 bytes=0000000011223344556677880000000000000000212022080000000000000041 size=68 -> drop:guard-ike-bad stream
        C:udp dport=4500 bytes=0000000011223344556677880000000000000000215022080000000000000040 size=68 -> drop:guard-ike-bad stream
        C:udp dport=4500 bytes=0000000000000000000000000000000000000000212022080000000000000040 size=68 -> drop:guard-ike-bad stream
        C:udp dport=4500 bytes=00000000 size=20 -> drop:guard-ike-bad stream
        # Cisco's older encapsulation knows no marker.
        C:udp dport=10000 bytes=0000000000000001 +64 -> drop:guard-esp-spi none
        C:udp dport=10000 bytes=0000100000000001 +64 -> pass single
    ",
            ),
            case(
                "own/guard-esp/ah",
                "
        policy guard esp
        C:ah=4096/1 +100              -> pass single
        S:ah=8192/1 +100              -> pass stream
        C:ah=4096/2 +100              -> pass stream
        C:ah=4096/2 +100              -> drop:guard-esp-replay stream
    ",
            ),
            case(
                "own/guard-esp/tcp",
                "
        # Without guard `ctcp` it is bypass from the first packet on, and ESP needs no trailer.
        policy guard esp
        C:A 1/1 +100 inesp=255/1      -> drop:guard-esp-spi none
        C:A 1/1 +8 inesp=4096/1       -> drop:guard-esp-short none
        C:A 1/1 +100 inesp=4096/1     -> pass bypass
        S:A 1/101 +100 inesp=8192/1   -> pass bypass
        C:A 900000/101 +100 inesp=4096/2 -> pass bypass
        C:A 900100/101 +100 inesp=4096/2 -> drop:guard-esp-replay bypass
        C:A 900100/101 +100 inesp=7777/70000 -> pass bypass
        C:A 900100/101                -> pass bypass
    ",
            ),
            case(
                "own/guard-esp/ctcp",
                proven!(
                    "ctcp esp",
                    "
        # The window knows what passed before the flow was proven.
        C:A 201/201 +100 ctcp=4096/2  -> drop:guard-esp-replay bypass
        C:A 900000/201 +100 ctcp=4096/3 -> pass bypass
        C:A 900000/201 +100 ctcp=4096/3 -> drop:guard-esp-replay bypass
        # Further than whatever time allows: a slow machine needs milliseconds between two packets.
        C:A 201/201 +100 ctcp=4096/2000000000 -> drop:guard-esp-jump bypass
        C:A 201/201 +100              -> drop:guard-no-trailer bypass
        C:A 201/201 +100 ctcp-ike     -> pass bypass
        C:A 201/201 +100 ctcp-ike     -> pass bypass
        # Without guard `esp` nobody follows the numbers: with it again the window begins anew.
        policy guard ctcp
        C:A 201/201 +100 ctcp=4096/200000 -> pass bypass
        policy guard ctcp esp
        C:A 201/201 +100 ctcp=4096/200001 -> pass bypass
        C:A 201/201 +100 ctcp=4096/200001 -> drop:guard-esp-replay bypass
    "
                ),
            ),
        ],
    ),
];
