//! The macros that declare the language: maps with their keys, and sets of words.

/// Declares a struct of optional fields and how it is read from a map: each field is a key, and
/// any other key is a fault with the nearest known one as its help. `= "..."` says what a key
/// that is left out means, for readers and editors; the code that gives it a meaning decides.
/// A map that is not one counts as a record in which every key is faulty, so that what refers to
/// it is not dangling as well.
///
/// A macro, because the alternative is the same sixty lines for every map (reading, schema, files
/// and secrets in it), with a key forgotten in one of them.
macro_rules! record {
    (
        $(#[doc = $doc:expr])*
        pub struct $name:ident {
            $( $(#[doc = $field_doc:expr])* $field:ident: $kind:ty $(= $default:literal)?, )*
        }
        $(required: $($required:ident = $example:literal),+ $(,)?)?
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Default)]
        pub struct $name {
            /// Where the map stands.
            pub at: $crate::document::At,
            /// Whether `enabled` turns it on.
            pub switch: $crate::document::Switch,
            /// Keys that were written and could not be read: not missing, only faulty. One that is
            /// not known is the empty text.
            pub faulty: Vec<&'static str>,
            $( $(#[doc = $field_doc])* pub $field: Option<$kind>, )*
        }

        impl $name {
            /// The keys of the map.
            const KEYS: &[&str] = &[$($crate::document::record::key(stringify!($field))),*];
        }

        impl $crate::document::reader::Item for $name {
            fn read(
                node: &$crate::yaml::Node,
                reader: &mut $crate::document::Reader<'_>,
            ) -> Option<Self> {
                let mut record = Self { at: reader.at(node), ..Self::default() };
                let Some(entries) = reader.map(node) else {
                    record.switch = $crate::document::Switch::Off;
                    record.faulty = Self::KEYS.to_vec();
                    return Some(record);
                };
                record.switch = $crate::document::Reader::switch(entries, Self::KEYS);
                for entry in entries {
                    $( if entry.key == const { $crate::document::record::key(stringify!($field)) } {
                        record.$field = reader.field(entry, stringify!($name));
                        if record.$field.is_none() {
                            record
                                .faulty
                                .push(const { $crate::document::record::key(stringify!($field)) });
                        }
                        continue;
                    } )*
                    reader.unknown_key(entry, Self::KEYS);
                    record.faulty.push("");
                }
                $($(
                    let key = const { $crate::document::record::key(stringify!($required)) };
                    if record.$required.is_none()
                        && record.switch != $crate::document::Switch::Off
                        && !record.faulty.contains(&key)
                    {
                        reader.missing(key, $example);
                    }
                )+)?
                Some(record)
            }

            fn schema(definitions: &mut $crate::schema::Definitions) -> serde_json::Value {
                definitions.record(stringify!($name), concat!($($doc),*), |definitions| {
                    $crate::schema::Record {
                        keys: vec![$( $crate::schema::Key {
                            name: $crate::document::record::key(stringify!($field)),
                            doc: concat!($($field_doc),*),
                            schema: <$kind as $crate::document::reader::Item>::schema(definitions),
                            default: [$($default,)? ""].first().copied().filter(|d| !d.is_empty()),
                        } ),*],
                        required: vec![$($(
                            $crate::document::record::key(stringify!($required))
                        ),+)?],
                    }
                })
            }

            fn visit(&self, visitor: &mut $crate::document::Visitor) {
                $( if let Some(value) = &self.$field {
                    $crate::document::reader::Item::visit(value, visitor);
                } )*
            }

            fn is_on(&self) -> bool {
                match self.switch {
                    $crate::document::Switch::None => true,
                    switch => switch == $crate::document::Switch::On,
                }
            }

            fn is_block(&self) -> bool {
                self.switch != $crate::document::Switch::None
            }

            fn is_silent(&self) -> bool {
                self.switch == $crate::document::Switch::Unsaid
            }
        }
    };
}

/// Declares a set of words and the enum that they mean. The first spelling of each is the one
/// that is printed; `$what` names the set in messages.
macro_rules! words {
    (
        $(#[doc = $doc:expr])*
        pub enum $name:ident: $what:literal {
            $( $(#[doc = $word_doc:expr])* $word:ident = $text:literal $(| $alias:literal)*, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $word_doc])* $word, )*
        }

        impl $name {
            /// The words, in the order in which they are explained.
            pub const WORDS: &[&str] = &[$($text),*];

            /// The word in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$word => $text, )* }
            }
        }

        impl $crate::document::reader::Leaf for $name {
            const KIND: &'static str = stringify!($name);

            fn leaf(text: &str) -> Result<Self, $crate::value::InvalidValue> {
                match text {
                    $( $text $(| $alias)* => Ok(Self::$word), )*
                    _ => Err($crate::document::record::unknown_word(text, $what, Self::WORDS)),
                }
            }

            fn schema() -> serde_json::Value {
                $crate::schema::words(&[$($text, $($alias,)*)*])
            }

            fn word(&self) -> Option<&'static str> {
                Some(self.as_str())
            }
        }
    };
}

/// The key that a field stands for: `r#async` is `async`.
pub(super) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// The fault of a word that is none of a set.
pub(super) fn unknown_word(text: &str, what: &str, words: &[&str]) -> crate::value::InvalidValue {
    let help = match (super::nearest(text, words.iter().copied()), words.split_last()) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Some((last, rest))) if !rest.is_empty() => {
            format!("write {} or {last}", rest.join(", "))
        }
        _ => format!("write {}", words.join(", ")),
    };
    crate::value::InvalidValue::new(format!("`{text}` is not {what}"), help)
}

pub(super) use {record, words};
