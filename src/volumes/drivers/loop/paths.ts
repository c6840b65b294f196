import type { ContainerId, VolumeId } from "../../../base/index.ts";

/** Every path of the driver, in one place. */
export class Paths {
  readonly dataDir: string;
  readonly runDir: string;

  constructor(dataDir: string, runDir: string) {
    this.dataDir = dataDir;
    this.runDir = runDir;
  }

  /** What is kept of a volume over reboots. */
  folder(id: VolumeId): string {
    return `${this.dataDir}/${id}`;
  }
  /** The file system, once it is whole. Nothing ever formats it. */
  image(id: VolumeId): string {
    return `${this.folder(id)}/fs.img`;
  }
  /** One that is being formatted: none yet. */
  freshImage(id: VolumeId): string {
    return `${this.folder(id)}/fs.new`;
  }
  /** There until the root of the file system has its owner. */
  fresh(id: VolumeId): string {
    return `${this.folder(id)}/fresh`;
  }

  /** Where it is mounted, and who has it: a file for each, named as the container. Gone with a reboot, as the mounts are. */
  run(id: VolumeId): string {
    return `${this.runDir}/${id}`;
  }
  mountPoint(id: VolumeId): string {
    return `${this.run(id)}/fs`;
  }
  user(id: VolumeId, user: ContainerId): string {
    return `${this.run(id)}/${user}`;
  }
}
