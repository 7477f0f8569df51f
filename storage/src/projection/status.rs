//! How a projection stands, as it is told to those who look.

use purser_events::Seq;

/// How a projection stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// The generation that answers; none before the first one is built.
    pub answering: Option<GenerationStatus>,
    /// The generation that is being built.
    pub building: Option<GenerationStatus>,
    /// The record that the one being built must come to before it answers.
    pub goal: Seq,
    /// Why it does not go on, if it does not.
    pub paused: Option<String>,
    /// Whether rows of generations that are over are still being removed.
    pub removing: bool,
    /// Requests to build it again that it has seen to.
    pub(crate) requests_taken: u64,
}

/// How far a generation of rows has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationStatus {
    /// Its number: later ones have higher ones.
    pub number: u32,
    /// Layout of its rows.
    pub layout: u32,
    /// The first record that it was folded from.
    pub first: Seq,
    /// The last record that is folded in; the one before `first` if there is none yet.
    pub cursor: Seq,
    /// Records that concern it and could not be read.
    pub passed_over: u64,
}

/// What a projection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectionState {
    /// There is nothing to ask yet: its first rows are being made.
    Building,
    /// It follows the journal.
    Following,
    /// It follows the journal, and new rows are made beside.
    Rebuilding,
    /// It does not go on.
    Paused,
}

impl ProjectionState {
    /// Every state.
    pub const ALL: [ProjectionState; 4] = [
        ProjectionState::Building,
        ProjectionState::Following,
        ProjectionState::Rebuilding,
        ProjectionState::Paused,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ProjectionState::Building => "building",
            ProjectionState::Following => "following",
            ProjectionState::Rebuilding => "rebuilding",
            ProjectionState::Paused => "paused",
        }
    }
}

impl ProjectionStatus {
    /// What it does.
    #[must_use]
    pub fn state(&self) -> ProjectionState {
        match (&self.paused, &self.answering, &self.building) {
            (Some(_), _, _) => ProjectionState::Paused,
            (None, None, _) => ProjectionState::Building,
            (None, Some(_), Some(_)) => ProjectionState::Rebuilding,
            (None, Some(_), None) => ProjectionState::Following,
        }
    }

    /// The last record that answers hold, or, before there are any, that is folded in.
    #[must_use]
    pub fn cursor(&self) -> Seq {
        let generation = self.answering.as_ref().or(self.building.as_ref());
        generation.map_or(Seq::ZERO, |generation| generation.cursor)
    }

    /// Records up to `head` that are not folded in.
    #[must_use]
    pub fn lag(&self, head: Seq) -> u64 {
        head.0.saturating_sub(self.cursor().0)
    }
}
