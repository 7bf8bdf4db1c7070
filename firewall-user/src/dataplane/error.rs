//! What can go wrong between the controller and the kernel, each with a hint for the person in front of it.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use firewall_common::{config, flow::LAYOUT_VERSION};

use crate::api::{Failure, Kind};

#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    #[error("not enough privileges: {0}")]
    NotPermitted(String),
    #[error("kernel {0} is too old: Weir needs 6.1 or newer")]
    KernelTooOld(String),
    #[error("no BPF file system at {path}, and mounting one failed: {source}")]
    NoBpffs { path: PathBuf, source: io::Error },
    #[error("there is no interface `{name}`")]
    UnknownInterface { name: String, near: Option<String> },
    #[error("interface {name} has index {index}, the dataplane can tell apart indexes below {}", config::MAX_INTERFACE_INDEX)]
    InterfaceIndex { name: String, index: u32 },
    #[error("interface {name} already runs another XDP program (id {id})")]
    OtherProgram { name: String, id: u32 },
    #[error("interface {0} is already attached")]
    AlreadyAttached(String),
    #[error("interface {0} is not attached")]
    NotAttached(String),
    #[error("no more than {} interfaces can be attached at once", config::MAX_INTERFACES)]
    TooManyInterfaces,
    #[error("{pin} is not one of this program's maps: {detail}")]
    ForeignPin { pin: PathBuf, detail: String },
    #[error("the pinned maps have layout {found}, this program has layout {LAYOUT_VERSION}: {flows} live flows would be lost")]
    Layout { found: u32, flows: u64 },
    #[error("{pin} has another shape than this program's map: {detail}; {flows} live flows would be lost")]
    Shape { pin: PathBuf, detail: String, flows: u64 },
    #[error("not enough memory for the tables: {0}")]
    NoMemory(#[source] Box<EbpfError>),
    #[error("loading the dataplane failed: {}", chain(.0))]
    Load(#[source] Box<EbpfError>),
    #[error("program `{name}` could not be {step}: {}", chain(.source))]
    Program { name: String, step: &'static str, source: ProgramError },
    #[error("map {name}: {}", chain(.source))]
    Map { name: String, source: MapError },
    #[error("map {name} is missing from the dataplane")]
    MapMissing { name: &'static str },
    #[error("program {name} is missing from the dataplane")]
    ProgramMissing { name: &'static str },
    #[error("{what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

/// An error and its causes in one line: the kernel's own word is at the end of the chain.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

impl DataplaneError {
    pub(super) fn map(name: &str) -> impl FnOnce(MapError) -> Self {
        let name = name.to_owned();
        move |source| Self::Map { name, source }
    }

    pub(super) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    pub(super) fn program(name: &str, step: &'static str) -> impl FnOnce(ProgramError) -> Self {
        let name = name.to_owned();
        move |source| Self::Program { name, step, source }
    }

    /// Tells lack of memory from the rest of what a load can die of.
    pub(super) fn load(error: EbpfError) -> Self {
        let memory = match &error {
            EbpfError::MapError(MapError::CreateError { io_error, .. }) => {
                matches!(io_error.raw_os_error(), Some(libc::ENOMEM | libc::E2BIG))
            }
            _ => false,
        };
        if memory { Self::NoMemory(Box::new(error)) } else { Self::Load(Box::new(error)) }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotPermitted(_) => "run it as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON".to_owned(),
            Self::KernelTooOld(_) => "Debian 12 and newer have such a kernel".to_owned(),
            Self::NoBpffs { path, .. } => format!("mount it by hand: mount -t bpf bpf {}", path.display()),
            Self::UnknownInterface { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::UnknownInterface { near: None, .. } => {
                "`ip link` lists the interfaces; one in another network namespace needs --netns".to_owned()
            }
            Self::InterfaceIndex { .. } => "indexes grow with every interface made; a new network namespace starts at 1 again".to_owned(),
            Self::OtherProgram { name, id } => format!(
                "`bpftool prog show id {id}` shows it, `ip link set dev {name} xdp off` removes it; another instance of weir lets go with \
                 `weir detach {name} --instance NAME`"
            ),
            Self::AlreadyAttached(name) => format!("detach it first: weir detach {name}"),
            Self::NotAttached(_) => "`weir status` lists the attached interfaces".to_owned(),
            Self::ForeignPin { .. } => "nothing was changed; choose another --instance, or remove the pins if nobody needs them".to_owned(),
            Self::Layout { .. } | Self::Shape { .. } => {
                "nothing was changed; run once with --discard-flows to start with empty tables, or keep the program that made them"
                    .to_owned()
            }
            Self::NoMemory(_) => "ask for smaller tables with --established and --embryonic".to_owned(),
            _ => return None,
        })
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::NotPermitted(_) => Kind::Permission,
            Self::UnknownInterface { .. } | Self::NotAttached(_) => Kind::NotFound,
            Self::OtherProgram { .. } | Self::AlreadyAttached(_) | Self::TooManyInterfaces => Kind::Conflict,
            Self::ForeignPin { .. } | Self::Layout { .. } | Self::Shape { .. } => Kind::Conflict,
            _ => Kind::Failed,
        }
    }
}

impl From<DataplaneError> for Failure {
    fn from(error: DataplaneError) -> Self {
        Self { error: error.to_string(), hint: error.hint(), kind: error.kind() }
    }
}
