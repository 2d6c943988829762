/**
 * Number of the wire protocol between agent, coordinator and replica. It goes up whenever a message changes in a way
 * that an older peer cannot read; protocol.test.ts fails when a schema changes and this does not.
 */
export const PROTOCOL_VERSION = 2
