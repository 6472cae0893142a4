/** Set by the build from package.json and the commit; a run from sources says so. */
declare const BERTH_VERSION: string | undefined;
declare const BERTH_REVISION: string | undefined;

export const version: string = typeof BERTH_VERSION === "string" ? BERTH_VERSION : "0.0.0-dev";
export const revision: string = typeof BERTH_REVISION === "string" ? BERTH_REVISION : "unknown";
