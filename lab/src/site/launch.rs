//! Starts one daemon: its folder, its files, its certificates, and the machine of its own that
//! `enter.sh` makes for it.
//!
//! What is not here: which daemons there are (`recipe`), and waiting for them (`site`).

use super::packages;
use super::place::Place;
use crate::LabError;
use crate::namespace::{Namespace, run};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What is done before the daemon's own start.
const ENTER: &str = include_str!("enter.sh");
/// Makes an authority and a certificate of it for the names of the site, which anybody may read.
const CERTIFICATES: &str = r#"set -e
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj "/CN=Portolan lab"
openssl req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=lab.test
printf 'subjectAltName=DNS:lab.test,DNS:*.lab.test\nbasicConstraints=CA:FALSE\n' > extensions
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extensions -out cert.pem
cat cert.pem key.pem > both.pem
chmod 644 *.pem
"#;

/// Folders of a site.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    /// Of everything that goes with the site.
    pub(crate) run: PathBuf,
    /// Of unpacked packages, which stay.
    pub(crate) packages: PathBuf,
}

impl Folders {
    /// Where a daemon has its files.
    pub(crate) fn of(&self, daemon: &str) -> PathBuf {
        self.run.join(daemon)
    }

    fn certificates(&self) -> PathBuf {
        self.run.join("tls")
    }
}

/// Makes the authority of a site and its certificate.
pub(crate) fn certify(folders: &Folders) -> Result<(), LabError> {
    let folder = folders.certificates();
    fs::create_dir_all(&folder).map_err(LabError::file(&folder))?;
    let mut shell = Command::new("sh");
    shell.args(["-c", CERTIFICATES]).current_dir(&folder);
    run(&mut shell, None).map(|_| ())
}

/// Starts a daemon in the namespace of its host.
pub(crate) fn start(
    namespace: &Namespace,
    place: &Place,
    folders: &Folders,
) -> Result<Child, LabError> {
    let recipe = &place.recipe;
    let folder = folders.of(&recipe.name);
    let address = place.address().to_string();
    let fill = |text: &str| recipe.fill(text, &address, &place.ports);
    for name in ["root", "tls"] {
        let sub = folder.join(name);
        fs::create_dir_all(&sub).map_err(LabError::file(&sub))?;
    }
    for name in ["ca.pem", "cert.pem", "key.pem", "both.pem"] {
        let from = folders.certificates().join(name);
        let to = folder.join("tls").join(name);
        fs::copy(&from, &to).map_err(LabError::file(&to))?;
    }
    write(&folder.join("start"), &fill(&recipe.start))?;
    for (name, content) in &recipe.files {
        // A whole path is one of the machine's.
        let path = match name.strip_prefix('/') {
            Some(whole) => folder.join("files").join(whole),
            None => folder.join(name),
        };
        write(&path, &fill(content))?;
    }
    let unpacked = recipe.unpack.iter();
    let unpacked = unpacked.map(|package| packages::unpack(&folders.packages, package));
    let unpacked: Vec<String> = unpacked
        .map(|path| path.map(|it| it.display().to_string()))
        .collect::<Result<_, _>>()?;
    let said = folder.join("said");
    let said = fs::File::create(&said).map_err(LabError::file(&said))?;
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--pid",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child",
    ]);
    command.args(["sh", "-c", ENTER]);
    let again = said.try_clone().map_err(LabError::file(&folder))?;
    command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
        )
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .env("FOLDER", &folder)
        .env("PACKAGES", unpacked.join(" "))
        .env("NAME", &recipe.name)
        .env("ADDRESS", &address)
        .env("SCANNER", super::network::SCANNER.to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(again)
        .stderr(said)
        // It stays when whoever started it ends.
        .process_group(0);
    let child = namespace.enter(|| command.spawn())?;
    child.map_err(|source| LabError::Start {
        command: format!("unshare for {}", recipe.name),
        source,
    })
}

/// The last words of a daemon.
pub(crate) fn last_words(folder: &Path) -> String {
    let read = |name: &str| fs::read(folder.join(name)).unwrap_or_default();
    let all = [read("said"), read("syslog")].concat();
    let text = String::from_utf8_lossy(&all).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LAST_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// So many lines of a log say why something did not start.
const LAST_LINES: usize = 12;

fn write(path: &Path, content: &str) -> Result<(), LabError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(LabError::file(folder))?;
    }
    fs::write(path, content).map_err(LabError::file(path))
}
