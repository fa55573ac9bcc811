//! Answers questions from the usage projection.

use crate::domain::ids::{KeyId, Position};
use crate::domain::time::Time;
use crate::projection::usage::{
    AsOf, Bucket, Gap, Granularity, Range, Rows, UsageQuery, UsageStoreError, Ways,
};

/// Reads the database beside its writer. Each answer is of one moment. Blocks: a question may take seconds.
#[derive(Clone, Debug)]
pub struct UsageReader {}

impl UsageReader {
    /// The last event that is folded in.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn reached(&self) -> Result<Option<Position>, UsageStoreError> {
        Ok(None)
    }

    /// How often `key` was used, by bucket, ascending; buckets without uses are left out.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn key_usage(
        &self,
        _key: &KeyId,
        _range: Range,
        _granularity: Granularity,
    ) -> Result<AsOf<Vec<Bucket>>, UsageStoreError> {
        Ok(AsOf { position: None, value: Vec::new() })
    }

    /// How often keys were used, told apart as asked.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn query(&self, _query: &UsageQuery) -> Result<AsOf<Rows>, UsageStoreError> {
        Ok(AsOf { position: None, value: Rows::default() })
    }

    /// In which ways `key` was used in the bucket that holds `since` and later: at most `limit` of those behind the
    /// page that `after` was the [`Ways::next`] of.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn ways(
        &self,
        _key: &KeyId,
        _since: Time,
        _after: Option<&[u8]>,
        _limit: usize,
    ) -> Result<AsOf<Ways>, UsageStoreError> {
        Ok(AsOf { position: None, value: Ways::default() })
    }

    /// The gaps that reach into `range`, ascending; the last `limit` of them.
    ///
    /// # Errors
    /// [`UsageStoreError`].
    pub fn gaps(&self, _range: Range, _limit: usize) -> Result<AsOf<Vec<Gap>>, UsageStoreError> {
        Ok(AsOf { position: None, value: Vec::new() })
    }

    /// Bytes of the database on disk.
    ///
    /// # Errors
    /// [`UsageStoreError::Io`].
    pub fn bytes(&self) -> Result<u64, UsageStoreError> {
        Ok(0)
    }
}
