//! `clawbridge chat`: talking to an agent through the bridge.

mod turns;
