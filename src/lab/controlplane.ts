import type { LabOptions } from "./lab.ts";
