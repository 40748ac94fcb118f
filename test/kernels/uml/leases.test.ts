/** What lease stores must do under a kernel that notes changes of folders by the ticks of its clock. */
import "../../../src/ipam/file-changes.test.ts";
