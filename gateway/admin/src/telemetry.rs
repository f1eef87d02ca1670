//! Logging: one line per event on standard error, JSON in a pod and readable text on a terminal.
//!
//! The only place that sets up a subscriber. What is logged is decided where it happens, and nothing from outside is ever
//! part of the format.

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// Also what may need one.
    Warn,
    /// Also what happens: a line per message and recipient's outcome, a line per change of state.
    Info,
    /// Also each session and connection.
    Debug,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

impl LogFormat {
    /// What was asked for; else text on a terminal and JSON where a program reads.
    pub fn or_fitting(asked: Option<Self>) -> Self {
        asked.unwrap_or_else(|| {
            if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
                Self::Text
            } else {
                Self::Json
            }
        })
    }
}

/// Sends log lines to standard error from now on. A second call changes nothing.
pub fn start(format: LogFormat, level: LogLevel) {
    let level = LevelFilter::from(level);
    let registry = tracing_subscriber::registry().with(level);
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let _ = match format {
        LogFormat::Json => registry
            .with(layer.json().flatten_event(true).with_current_span(false))
            .try_init(),
        LogFormat::Text => registry
            .with(layer.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())))
            .try_init(),
    };
}
