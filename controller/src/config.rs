//! The operator's word: what the configuration file says.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use l34_plan::daemonset::{BUILT_IN, Template};
use l34_plan::gateway::Limits;
use serde::Deserialize;

/// Configuration of the controller, read once.
#[derive(Debug)]
pub(crate) struct Config {
    /// Which addresses Gateways may have.
    pub(crate) limits: Limits,
    /// What gateway pods are made of.
    pub(crate) template: Template,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    allowed_addresses: Option<Limits>,
    #[serde(default)]
    router_template: Option<serde_json::Value>,
}

impl Config {
    /// Reads the file, if there is one to read.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self> {
        let file = match path {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the configuration {}", path.display()))?;
                serde_saphyr::from_str(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?
            }
            None => File::default(),
        };
        Self::of(file)
    }

    fn of(file: File) -> Result<Self> {
        let template = match file.router_template {
            Some(template) => template,
            None => {
                serde_saphyr::from_str(BUILT_IN).map_err(|error| anyhow!("built-in template: {error}"))?
            }
        };
        let template = Template::new(template).map_err(|words| anyhow!("routerTemplate: {words}"))?;
        Ok(Self { limits: file.allowed_addresses.unwrap_or_default(), template })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        Config::of(serde_saphyr::from_str(text).map_err(|error| anyhow!("{error}"))?)
    }

    #[test]
    fn without_a_file_everything_is_allowed_and_the_template_is_the_built_in_one() {
        let config = Config::read(None).unwrap();
        assert_eq!(config.limits, Limits::default());
        assert!(config.template == read("{}").unwrap().template);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named() {
        for (text, field) in [
            ("allowedAddresses: [{ranges: [20.0.0.0/33]}]", "allowedAddresses[0].ranges"),
            ("allowedAdresses: []", "allowedAdresses"),
            ("routerTemplate: {metadata: {name: x}}", "routerTemplate: metadata.name"),
            ("routerTemplate: {spec: {template: {spec: {containers: []}}}}", "containers"),
        ] {
            let said = read(text).unwrap_err().to_string();
            assert!(said.contains(field), "{said:?} does not name {field}");
        }
    }
}
