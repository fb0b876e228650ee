//! GraphQL
use crate::at::At;
use crate::imported::Imported;
use crate::options::Options;
use crate::problem::Problem;
pub(crate) fn import(_schema: &At<'_>, _options: &Options) -> Result<Imported, Vec<Problem>> {
    Err(Vec::new())
}
