//! The macro that declares one map of the language.

/// Declares a struct of optional fields and how it is read from a map: each field is a key,
/// `later` lists keys that the language has and this version does not run, and any other key is
/// a fault with the nearest known key as its help. A macro, because the alternative is the same
/// thirty lines for every map, with a key forgotten in one of them.
macro_rules! record {
    (
        $(#[$doc:meta])*
        pub struct $name:ident { $( $(#[$field_doc:meta])* $field:ident: $kind:ty, )* }
        $(later: $($later:ident),+)?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub struct $name {
            /// Where the map stands.
            pub at: $crate::document::At,
            /// Keys that were written and could not be read: not missing, only faulty.
            pub faulty: Vec<&'static str>,
            $( $(#[$field_doc])* pub $field: Option<$kind>, )*
        }

        impl $name {
            const KEYS: &[&str] = &[$(stringify!($field)),*];
            const LATER: &[&str] = &[$($(stringify!($later)),+)?];
        }

        impl $crate::document::reader::Read for $name {
            fn read(
                node: &$crate::yaml::Node,
                reader: &mut $crate::document::Reader<'_>,
            ) -> Option<Self> {
                let entries = reader.map(node)?;
                let mut record = Self { at: reader.at(node), ..Self::default() };
                for entry in entries {
                    match entry.key.as_str() {
                        $( stringify!($field) => {
                            record.$field = reader.field(entry);
                            if record.$field.is_none() {
                                record.faulty.push(stringify!($field));
                            }
                        } )*
                        _ => reader.unknown_key(entry, Self::KEYS, Self::LATER),
                    }
                }
                Some(record)
            }
        }
    };
}
pub(super) use record;
