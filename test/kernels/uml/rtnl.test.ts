/** What rtnetlink must do, under a kernel that is older than most machines' and knows more kinds of links. */
import "../../conformance/conformance.test.ts";
import "../../kernel/rtnl-kinds.test.ts";
