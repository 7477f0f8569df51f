//! How an append is to be treated: what may push it aside, and whether its answer waits for the disk.

use std::fmt;

/// How much an append matters when not all can be taken.
///
/// What waits is written in this order, and in order of arrival within a class. No class is refused because another
/// has too much waiting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What ends something, gives it back or refuses it: stops, kills, terminations, what is done about violations, and what
    /// came of them. May use the ballast.
    Safety,
    /// Admissions, starts, and everything else that must not be lost.
    #[default]
    Lifecycle,
    /// What will be seen again, and that violations begin and end: the first to be refused.
    Observation,
}

impl Class {
    /// Every class, the most important first.
    pub const ALL: [Class; 3] = [Class::Safety, Class::Lifecycle, Class::Observation];

    /// Its name, as in `safety`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Class::Safety => "safety",
            Class::Lifecycle => "lifecycle",
            Class::Observation => "observation",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// When an append is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once it survives a loss of power.
    #[default]
    Sync,
    /// Once it survives the end of the process. It is made durable, and only then shown to projections, feeds and as
    /// the head, with the next [`Durability::Sync`] append or after
    /// [`JournalConfig::lazy_ms_max`](crate::JournalConfig::lazy_ms_max); a loss of power before that takes it away
    /// together with everything after it. Only for what will be seen again and leads to nothing outside. With
    /// the answer to a command it counts as [`Durability::Sync`].
    Lazy,
}

/// Class and durability of an append.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// How much it matters.
    pub class: Class,
    /// When it is answered.
    pub durability: Durability,
}

impl Terms {
    /// What is answered once it is durable.
    #[must_use]
    pub fn sync(class: Class) -> Terms {
        Terms { class, durability: Durability::Sync }
    }
}

/// A figure for each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerClass<T> {
    /// For [`Class::Safety`].
    pub safety: T,
    /// For [`Class::Lifecycle`].
    pub lifecycle: T,
    /// For [`Class::Observation`].
    pub observation: T,
}

impl<T> PerClass<T> {
    /// The figure of a class.
    pub fn of(&self, class: Class) -> &T {
        match class {
            Class::Safety => &self.safety,
            Class::Lifecycle => &self.lifecycle,
            Class::Observation => &self.observation,
        }
    }

    pub(crate) fn of_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Safety => &mut self.safety,
            Class::Lifecycle => &mut self.lifecycle,
            Class::Observation => &mut self.observation,
        }
    }

    pub(crate) fn each<U>(&self, figure: impl Fn(&T) -> U) -> PerClass<U> {
        PerClass {
            safety: figure(&self.safety),
            lifecycle: figure(&self.lifecycle),
            observation: figure(&self.observation),
        }
    }
}
