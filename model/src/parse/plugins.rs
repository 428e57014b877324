//! Code of others.

use std::{cmp::Reverse, collections::HashSet};

use super::{Faults, list, or, traffic_management::on};
use crate::{
    config::{Fail, Plugin},
    diagnostic::code,
    document::{Document, Spanned},
    value::FilePath,
};

/// What a WebAssembly module begins with (its magic number, section 5.5.16 of the standard).
const MAGIC: &[u8] = b"\0asm";

impl Faults<'_> {
    /// The plugins that run, in the order in which they see requests.
    pub(super) fn plugins(&mut self, document: &Document) -> Vec<Plugin> {
        let Some(written) = on(document.plugins.as_ref()) else { return Vec::new() };
        self.path = vec!["plugins".to_owned()];
        let mut names = HashSet::new();
        let wasm = self.each("wasm_plugins", written.wasm_plugins.iter().flatten(), |f, plugin| {
            if let Some(path) = &plugin.path {
                f.module(path);
            }
            let name = f.plugin_name(plugin.name.as_ref(), &mut names)?;
            Some(Plugin {
                name,
                priority: or(plugin.priority.as_ref(), 0),
                paths: list(plugin.paths.as_ref()),
                methods: list(plugin.methods.as_ref()),
                fail: or(plugin.fail.as_ref(), Fail::Closed),
            })
        });
        let http = self.each("http_plugins", written.http_plugins.iter().flatten(), |f, plugin| {
            let name = f.plugin_name(plugin.name.as_ref(), &mut names)?;
            Some(Plugin {
                name,
                priority: or(plugin.priority.as_ref(), 0),
                paths: list(plugin.paths.as_ref()),
                methods: list(plugin.methods.as_ref()),
                fail: or(plugin.fail.as_ref(), Fail::Closed),
            })
        });
        if written.wasm_plugins.is_none()
            && written.http_plugins.is_none()
            && written.faulty.is_empty()
        {
            let message = "there is no plugin to run";
            let help = "add wasm_plugins or http_plugins, or write enabled: false";
            self.warn(written.at, code::EMPTY, message, help);
        }
        self.path.clear();
        let mut plugins: Vec<_> = wasm.into_iter().chain(http).flatten().collect();
        // Stable, so that equal ones keep the order of their list.
        plugins.sort_by_key(|plugin| Reverse(plugin.priority));
        plugins
    }

    fn plugin_name<'d>(
        &mut self,
        written: Option<&'d Spanned<String>>,
        names: &mut HashSet<&'d str>,
    ) -> Option<String> {
        let name = written?;
        if !names.insert(name.value.as_str()) {
            self.within("name", |faults| {
                let message = format!("another plugin is called `{}`", name.value);
                let help = "metrics are told apart by name: give each its own";
                faults.error(name.at, code::DUPLICATE_REFERENCE, message, help);
            });
        }
        Some(name.value.clone())
    }

    fn module(&mut self, path: &Spanned<FilePath>) {
        let Some(content) = self.file("path", path, "") else { return };
        if !content.starts_with(MAGIC) {
            self.within("path", |faults| {
                let message = format!("the file `{}` is not a WebAssembly module", path.value);
                let help = "name the .wasm that the plugin is built to";
                faults.error(path.at, code::INVALID_FILE, message, help);
            });
        }
    }
}
