//! What the journal is told and asked about the room on its disk.

use std::io;

use crate::ballast::BallastStanding;
use crate::disk::Space;
use crate::error::JournalError;
use crate::journal::Journal;

impl Journal {
    /// Refuses appends of [`Class::Observation`](crate::Class::Observation) as [`AppendError::NoRoom`](crate::AppendError::NoRoom) from now on, or takes them again.
    pub fn shed_observations(&self, shed: bool) {
        self.reserve().shed_observations(shed);
    }

    /// How full the file system is that the journal is on.
    ///
    /// # Errors
    /// What the system says.
    pub fn space(&self) -> io::Result<Space> {
        self.reserve().space()
    }

    /// Takes room for the ballast if it is not there, unless the disk would then be used to `used_percent_max` or
    /// more; says whether it is there now. Once the disk has less room left than a quarter of the ballast, only what
    /// is of [`Class::Safety`](crate::Class::Safety) is taken, and the ballast is given up for it. Blocks on the disk.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn make_ballast(&self, used_percent_max: u8) -> Result<bool, JournalError> {
        Ok(self.reserve().make(used_percent_max)?)
    }

    /// Bytes of the ballast, if it is there.
    #[must_use]
    pub fn ballast_bytes(&self) -> u64 {
        match self.ballast() {
            BallastStanding::Held => self.reserve().bytes(),
            BallastStanding::Absent | BallastStanding::GivenUp => 0,
        }
    }

    /// Whether the ballast is there.
    #[must_use]
    pub fn ballast(&self) -> BallastStanding {
        self.reserve().standing()
    }
}
