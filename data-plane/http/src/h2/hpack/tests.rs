use proptest::prelude::*;

use super::*;
use crate::fields::Field;

/// Keeps every field.
#[derive(Debug, Default)]
struct All(Vec<(String, String)>);

impl Sink for All {
    fn field(&mut self, _: Class, line: Line<'_>) {
        assert!(line.bytes().ends_with(b"\r\n") && line.size() == line.bytes().len() + 28);
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        self.0.push((text(line.name()), text(line.value())));
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Corrupt> {
    let mut all = All::default();
    decoder.decode(block, &mut all).map(|()| all.0)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Decodes blocks one after the other; fields are written as `name: value` lines.
fn assert_decoded(decoder: &mut Decoder, blocks: &[(&str, &str)]) {
    for (block, fields) in blocks {
        let found = decode(decoder, &hex(block)).unwrap();
        let found: Vec<_> = found.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let fields: Vec<_> = fields.lines().map(str::trim).collect();
        assert_eq!(found, fields, "{block}");
    }
}

const REQUESTS: [&str; 3] = [
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com",
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache",
    ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
     custom-key: custom-value",
];

const RESPONSES: [&str; 3] = [
    ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
     location: https://www.example.com",
    ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
     location: https://www.example.com",
    ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
     location: https://www.example.com\ncontent-encoding: gzip\n\
     set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];

#[test]
fn single_fields_of_the_rfc() {
    // RFC 7541, C.2.
    for (block, field) in [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key: custom-header"),
        ("040c2f73616d706c652f70617468", ":path: /sample/path"),
        ("100870617373776f726406736563726574", "password: secret"),
        ("82", ":method: GET"),
    ] {
        assert_decoded(&mut Decoder::default(), &[(block, field)]);
    }
}

#[test]
fn requests_of_the_rfc() {
    // RFC 7541, C.3 without and C.4 with Huffman codes.
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for blocks in [plain, coded] {
        let pairs: Vec<_> = blocks.into_iter().zip(REQUESTS).collect();
        assert_decoded(&mut Decoder::default(), &pairs);
    }
}

#[test]
fn responses_of_the_rfc() {
    // RFC 7541, C.5 without and C.6 with Huffman codes, both with a table of 256 bytes.
    let plain = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d\
         546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f\
         6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b\
         2076657273696f6e3d31",
    ];
    let coded = [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c7\
         8f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335\
         dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        assert_eq!(decode(&mut decoder, &hex("3fe101")), Ok(Vec::new()));
        let pairs: Vec<_> = blocks.into_iter().zip(RESPONSES).collect();
        assert_decoded(&mut decoder, &pairs);
    }
}

#[test]
fn a_block_that_cannot_be_is_corrupt() {
    for block in [
        // Index 0, one beyond the tables, and one of no number.
        "80",
        "be",
        "ff8080808080", // Sizes: too large, and behind a field.
        "3fe21f",
        "8220", // Strings: cut, of bad Huffman codes, names of no index.
        "4003616",
        "40036162",
        "0081ff",
        "007f",
        "7e",
        "0f2f01",
    ] {
        let decoded = decode(&mut Decoder::default(), &hex(block));
        assert_eq!(decoded, Err(Corrupt), "{block}");
    }
    assert_eq!(decode(&mut Decoder::default(), &hex("203fe11f")), Ok(Vec::new()));
}

#[test]
fn classes_tell_what_may_stand_in_a_request() {
    let class = |name: &str, value: &str| Class::of(name.as_bytes()).with(value.as_bytes());
    assert_eq!(class("host", "a"), Class::Field(Known::Host));
    assert_eq!(class("x-one", ""), Class::Field(Known::Other));
    assert_eq!(class(":path", "/"), Class::Path);
    for (name, value) in [
        ("X-One", "a"),
        ("", "a"),
        ("a b", "a"),
        (":status", "200"),
        (":protocol", "websocket"),
        (":", ""),
        ("connection", "x"),
        ("keep-alive", "x"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("a", "x\r\ny"),
        ("a", "x\0"),
        ("a", " x"),
        ("a", "x\t"),
    ] {
        assert_eq!(class(name, value), Class::Malformed, "{name}: {value}");
    }
}

/// Encodes an answer as a server does.
fn encode(encoder: &mut Encoder, status: u16, fields: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    encoder.status(&mut out, http::StatusCode::from_u16(status).unwrap());
    for (name, value) in fields {
        let line = format!("{name}:{value} \r\n");
        let (name, value) = (name.as_bytes(), value.as_bytes());
        let field = Field { known: Known::of(name), name, value };
        encoder.field(&mut out, &field, line.as_bytes());
    }
    out
}

#[test]
fn an_answer_like_the_last_is_a_byte_a_field() {
    let fields: Vec<_> = [("Server", "x"), ("X-Long-Name", "some value"), ("content-length", "13")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let first = encode(&mut encoder, 200, &fields);
    let second = encode(&mut encoder, 200, &fields);
    assert!(first.len() > 20, "{first:?}");
    assert_eq!(second, [&[0x88, 0xbf, 0xbe][..], b"\x0f\x0d\x0213"].concat());
    let expected = decode(&mut decoder, &first).unwrap();
    assert_eq!(expected[2], ("x-long-name".to_owned(), "some value".to_owned()));
    assert_eq!(decode(&mut decoder, &second).unwrap(), expected);
    // Without their neighbour they are found by looking.
    let third = encode(&mut encoder, 200, &fields[1..]);
    assert_eq!(third[..2], [0x88, 0xbe]);
    // Nothing is remembered without a table.
    encoder.set_limit(0);
    encoder.set_limit(100);
    encoder.set_limit(0);
    let fourth = encode(&mut encoder, 200, &fields);
    assert_eq!(fourth[..2], [0x20, 0x88]);
    assert_eq!(decode(&mut decoder, &fourth).unwrap(), expected);
}

/// A limit on the table, a status and fields.
type Answer = (usize, u16, Vec<(String, String)>);

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let name = prop_oneof![
        Just("Server".to_owned()),
        Just("content-type".to_owned()),
        Just("Set-Cookie".to_owned()),
        Just("Content-Length".to_owned()),
        "[a-zA-Z-]{1,12}",
    ];
    let value = prop_oneof![9 => "[a-c]{0,2}", 1 => "[ -~]{0,300}"];
    let value = value.prop_map(|value| value.trim().to_owned());
    let fields = prop::collection::vec((name, value), 0..8);
    prop::collection::vec((0_usize..6000, 200_u16..600, fields), 1..10)
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(answers in answers(), changes in any::<bool>()) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (limit, status, fields) in answers {
            if changes && limit % 3 == 0 {
                encoder.set_limit(limit / 2);
                encoder.set_limit(limit);
            }
            let block = encode(&mut encoder, status, &fields);
            let mut expected = vec![(":status".to_owned(), status.to_string())];
            expected.extend(fields.iter().map(|(name, value)| {
                (name.to_lowercase(), value.as_bytes().escape_ascii().to_string())
            }));
            prop_assert_eq!(decode(&mut decoder, &block), Ok(expected));
        }
    }

    #[test]
    fn others_decode_what_is_encoded(answers in answers()) {
        let (mut encoder, mut theirs) = (Encoder::default(), loona_hpack::Decoder::new());
        let mut ours = Decoder::default();
        for (_, status, fields) in answers {
            let block = encode(&mut encoder, status, &fields);
            prop_assert_eq!(decoded_by(&mut theirs, &block), decode(&mut ours, &block).ok());
        }
    }

    /// Blocks of random instructions, most of which can be decoded.
    #[test]
    fn others_agree_on_what_is_accepted(
        blocks in prop::collection::vec(prop::collection::vec(instruction(), 0..12), 1..6),
    ) {
        let (mut ours, mut theirs) = (Decoder::default(), loona_hpack::Decoder::new());
        for block in blocks {
            let block = block.concat();
            let Ok(found) = decode(&mut ours, &block) else {
                break;
            };
            prop_assert_eq!(decoded_by(&mut theirs, &block), Some(found));
        }
    }
}

fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let string = |huffman: bool, text: String| {
        let mut out = Vec::new();
        if huffman {
            let length = huffman::length(text.bytes());
            integer::encode(&mut out, 0x80, 7, length);
            huffman::encode(text.bytes(), &mut out);
        } else {
            integer::encode(&mut out, 0, 7, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        out
    };
    let literal = (0_usize..3, 0_usize..70, any::<bool>(), "[a-z]{1,9}", "[ -~]{0,200}");
    let literal = literal.prop_map(move |(kind, index, huffman, name, value)| {
        let (pattern, prefix) = [(0x40, 6), (0x00, 4), (0x10, 4)][kind];
        let mut out = Vec::new();
        integer::encode(&mut out, pattern, prefix, index);
        if index == 0 {
            out.extend(string(huffman, name));
        }
        out.extend(string(!huffman, value));
        out
    });
    let indexed = (1_usize..75).prop_map(|index| {
        let mut out = Vec::new();
        integer::encode(&mut out, 0x80, 7, index);
        out
    });
    prop_oneof![2 => literal, 2 => indexed, 1 => prop::collection::vec(0x80_u8.., 1..3)]
}

fn decoded_by(
    theirs: &mut loona_hpack::Decoder<'_>,
    block: &[u8],
) -> Option<Vec<(String, String)>> {
    let text = |bytes: Vec<u8>| bytes.escape_ascii().to_string();
    let fields = theirs.decode(block).ok()?;
    Some(fields.into_iter().map(|(name, value)| (text(name), text(value))).collect())
}
