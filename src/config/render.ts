/** Prints settings as the TOML file that gives them, with what each means. */
import type { Config } from "./config.js";
import { formatDuration } from "./duration.js";
import { type Setting, type SettingName, settings } from "./schema.js";

/** The documented defaults: `berthd config default`. Reading them back gives the defaults. */
export const renderDefaults = (): string => render((name) => settings[name].value);
/** The settings in force: `berthd config dump`. */
export const renderConfig = (config: Config): string => render((name) => config[name]);

function render(valueFor: (name: SettingName) => Setting["value"]): string {
  const tables = new Map<string, string[]>();
  for (const name of Object.keys(settings) as SettingName[]) {
    const setting: Setting = settings[name];
    const value = valueFor(name);
    const isTable = setting.kind === "string-map";
    const header = (isTable ? setting.path : setting.path.slice(0, -1)).map(keyText).join(".");
    const lines = tables.get(header) ?? [];
    tables.set(header, lines);
    lines.push(`# ${setting.help}`);
    if (isTable)
      lines.push(
        ...Object.entries(value as Record<string, string>).map(
          ([key, text]) => `${keyText(key)} = ${JSON.stringify(text)}`,
        ),
      );
    else lines.push(`${keyText(setting.path.at(-1) ?? "")} = ${valueText(setting, value)}`);
  }
  return [...tables]
    .map(([header, lines]) => (header === "" ? lines : [`[${header}]`, ...lines]).join("\n"))
    .join("\n\n")
    .concat("\n");
}

const keyText = (key: string): string => (/^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key));

const valueText = ({ kind }: Setting, value: Setting["value"]): string =>
  kind === "duration" ? JSON.stringify(formatDuration(value as number)) : JSON.stringify(value);
