//! How a daemon of the site is installed and started, and what it must be recognised as: a file
//! below `lab/daemons/` each, read when the site is made.
//!
//! What is not here: on which host and port it runs (`place`), and how it is started (`launch`).

use crate::LabError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One daemon.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the lab calls it: the name of its file.
    #[serde(skip)]
    pub name: String,
    /// What it may be called, the usual spelling first.
    pub product: Vec<String>,
    /// Debian packages that are installed for it; the first is its own, unless one is unpacked.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Debian packages that are not installed, because others that are conflict with them: they are
    /// unpacked over the daemon's view of the machine. The first of them is its own.
    #[serde(default)]
    pub unpack: Vec<String>,
    /// Whether it belongs to the few that every run of the tests starts.
    #[serde(default)]
    pub core: bool,
    /// Further ports of its host that it takes, whatever its configuration says.
    #[serde(default)]
    pub also: Vec<u16>,
    /// What the shell does, up to the daemon in the foreground. `{address}` is its host's and
    /// `{port:KEY}` is the port of one of its endpoints; so they are in its files.
    pub start: String,
    /// Where it listens.
    #[serde(rename = "endpoint")]
    pub endpoints: Vec<EndpointRecipe>,
    /// Files and their contents: by a whole path, or by a name below `/lab`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// A port of a daemon.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointRecipe {
    /// What the recipe calls it; the service when it does not say.
    key: Option<String>,
    /// The port that the service usually has.
    pub port: u16,
    /// Whether it has that port in every layout, because nothing can tell it another one.
    #[serde(default)]
    pub fixed: bool,
    /// The last port that its configuration takes, where that is not the last there is.
    pub port_max: Option<u16>,
    /// Name of the protocol.
    pub service: String,
    /// Whether it answers nothing that anybody may ask, so that no service is the right answer.
    #[serde(default)]
    pub silent: bool,
    /// Other protocols that it really speaks on that port.
    #[serde(default)]
    pub also_speaks: Vec<String>,
    /// How TLS comes to it.
    pub tls: Option<Tls>,
    /// What it may be called, where that is not what the daemon is called.
    pub product: Option<Vec<String>>,
    /// What else the server names that it is made of, and what may be taken for the product.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// The package whose version it is, where that is not the daemon's own.
    pub package: Option<String>,
    /// What the server says of itself to a client that does not log in.
    pub discloses: Disclosure,
    /// What shows that.
    pub why: String,
}

/// A program or library that a server names beside itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it is called.
    pub product: String,
    /// Its version, where it is said.
    pub version: Option<String>,
}

/// How TLS comes to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// It begins with the handshake.
    Implicit,
    /// A command of the protocol leads to it.
    Starttls,
}

/// What a server says of itself to a client that does not log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disclosure {
    /// Neither product nor version.
    Nothing,
    /// The product, and not its version.
    Product,
    /// Both.
    Version,
}

impl Recipe {
    /// Every recipe, by name.
    pub fn all() -> Result<Vec<Self>, LabError> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("daemons");
        let entries = std::fs::read_dir(&folder).map_err(LabError::file(&folder))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut paths: Vec<PathBuf> = paths
            .filter(|path| path.extension().is_some_and(|it| it == "toml"))
            .collect();
        paths.sort_unstable();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Result<Self, LabError> {
        let text = std::fs::read_to_string(path).map_err(LabError::file(path))?;
        let wrong = |why: String| LabError::Recipe {
            path: path.to_owned(),
            why,
        };
        let mut recipe: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let name = path.file_stem().unwrap_or_default();
        recipe.name = name.to_string_lossy().into_owned();
        if recipe.packages.is_empty() && recipe.unpack.is_empty() {
            return Err(wrong("names no package".to_owned()));
        }
        if recipe.product.is_empty() || recipe.endpoints.is_empty() {
            return Err(wrong("has no product or no endpoint".to_owned()));
        }
        let ports = vec![1; recipe.endpoints.len()];
        let texts = std::iter::once(&recipe.start).chain(recipe.files.values());
        for text in texts {
            if let Some((_, rest)) = recipe.fill(text, "", &ports).split_once("{port:") {
                let key = rest.split('}').next().unwrap_or_default();
                return Err(wrong(format!(
                    "asks for the port of {key}, which it has not"
                )));
            }
        }
        Ok(recipe)
    }

    /// `text` with the address and the ports, which stand in the order of the endpoints.
    pub(crate) fn fill(&self, text: &str, address: &str, ports: &[u16]) -> String {
        let mut filled = text.replace("{address}", address);
        for (endpoint, port) in self.endpoints.iter().zip(ports) {
            let key = format!("{{port:{}}}", endpoint.key());
            filled = filled.replace(&key, &port.to_string());
        }
        filled
    }

    /// The package whose version is that of the program.
    pub fn own_package(&self) -> &str {
        let first = self.unpack.first().or_else(|| self.packages.first());
        first.map_or("", String::as_str)
    }
}

impl EndpointRecipe {
    /// What the recipe calls it.
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.service)
    }
}
