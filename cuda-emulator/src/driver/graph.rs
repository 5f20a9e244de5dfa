//! Graphs: what a capture made, ready to be launched again and again.

use super::abi::{Context, Graph, GraphExec, Node, Out, Stream, UpdateResult};
use super::exports::exports;
use super::queue::OpId;
use super::report;
use super::state::{DONE, Driver, here};
use super::status::Status;
use super::work::Work;

/// One node.
#[derive(Clone)]
pub struct GraphNode {
    /// Its handle.
    pub handle: Node,
    /// What it does.
    pub work: Work,
    /// Nodes of the same graph that come before it; all have lower numbers.
    pub after: Vec<usize>,
}

/// A graph.
pub struct GraphState {
    /// Where it was made.
    pub context: Context,
    /// Its nodes; each comes after those that it waits for.
    pub nodes: Vec<GraphNode>,
}

/// A graph that can be launched.
pub struct ExecState {
    /// Where it was made.
    pub context: Context,
    /// Copied from the graph.
    pub nodes: Vec<GraphNode>,
    /// The end of its last launch: a graph does not run beside itself.
    last: Option<OpId>,
}

/// `CUDA_GRAPH_INSTANTIATE_FLAG_`: free on launch, device launch.
const AUTO_FREE: u64 = 1;
const DEVICE_LAUNCH: u64 = 4;

/// `CU_GRAPH_EXEC_UPDATE_`: success, other topology, other type of a node.
const UPDATED: i32 = 0;
const TOPOLOGY_CHANGED: i32 = 2;
const TYPE_CHANGED: i32 = 3;

impl Driver {
    fn instantiate(&mut self, graph: Graph, flags: u64) -> Result<GraphExec, Status> {
        let state = self.graphs.get(&graph).ok_or(Status::INVALID_HANDLE)?;
        if flags & !15 != 0 || flags & (AUTO_FREE | DEVICE_LAUNCH) == AUTO_FREE | DEVICE_LAUNCH {
            return Err(Status::INVALID_VALUE);
        }
        if flags & DEVICE_LAUNCH != 0 {
            report::unsupported("graphs that kernels launch (CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH)");
            return Err(Status::NOT_SUPPORTED);
        }
        let exec = ExecState {
            context: state.context,
            nodes: state.nodes.clone(),
            last: None,
        };
        let handle = GraphExec::number(self.number());
        self.execs.insert(handle, exec);
        Ok(handle)
    }

    fn launch_graph(&mut self, exec: GraphExec, stream: Stream) -> Result<(), Status> {
        let state = self.execs.get(&exec).ok_or(Status::INVALID_HANDLE)?;
        let nodes = state.nodes.clone();
        let last = state.last;
        if let Some((capture, frontier)) = self.captured_frontier(stream)? {
            let mut numbers = Vec::new();
            for node in &nodes {
                let mut after: Vec<usize> = node.after.iter().map(|i| numbers[*i]).collect();
                after.extend(if node.after.is_empty() {
                    frontier.as_slice()
                } else {
                    &[]
                });
                numbers.push(self.capture_node(stream, capture, node.work.clone(), after));
            }
            self.set_frontier(stream, capture, if numbers.is_empty() { frontier } else { numbers });
            return Ok(());
        }
        self.forbid_implicit(stream)?;
        let begin = self.enqueue(stream, Work::Nothing, last.as_slice(), 0)?;
        let context = self.streams.get(&stream).ok_or(Status::INVALID_HANDLE)?.context;
        let mut ops = Vec::new();
        for node in &nodes {
            let mut after: Vec<OpId> = node.after.iter().map(|i| ops[*i]).collect();
            after.push(begin);
            // Not part of the stream's order: nodes of a graph wait only for each other.
            ops.push(self.queue.push(stream, context, node.work.clone(), &after, 0));
        }
        let end = self.enqueue(stream, Work::Nothing, &ops, 0)?;
        if let Some(state) = self.execs.get_mut(&exec) {
            state.last = Some(end);
        }
        Ok(())
    }

    fn update_graph(&mut self, exec: GraphExec, graph: Graph) -> Result<UpdateResult, Status> {
        let nodes = self.graphs.get(&graph).ok_or(Status::INVALID_HANDLE)?.nodes.clone();
        let state = self.execs.get_mut(&exec).ok_or(Status::INVALID_HANDLE)?;
        let mut result = UpdateResult {
            result: UPDATED,
            node: Node::NULL,
            from: Node::NULL,
        };
        if nodes.len() != state.nodes.len() {
            result.result = TOPOLOGY_CHANGED;
            return Ok(result);
        }
        for (old, new) in state.nodes.iter().zip(&nodes) {
            if old.after != new.after {
                result = UpdateResult {
                    result: TOPOLOGY_CHANGED,
                    node: new.handle,
                    from: Node::NULL,
                };
            } else if old.work.node_type() != new.work.node_type() {
                result = UpdateResult {
                    result: TYPE_CHANGED,
                    node: new.handle,
                    from: Node::NULL,
                };
            } else {
                continue;
            }
            return Ok(result);
        }
        state.nodes = nodes;
        Ok(result)
    }
}

exports! {
    /// A graph without nodes.
    fn cuGraphCreate(graph: Out<'_, Graph>, flags: u32) {
        here(|d, context| {
            if flags != 0 {
                return Err(Status::INVALID_VALUE);
            }
            let new = Graph::number(d.number());
            d.graphs.insert(new, GraphState { context, nodes: Vec::new() });
            graph.set(new)?;
            DONE
        })
    }

    /// Ends a graph; what was made from it goes on.
    fn cuGraphDestroy(graph: Graph) {
        here(|d, _| {
            d.graphs.remove(&graph).ok_or(Status::INVALID_HANDLE)?;
            DONE
        })
    }

    /// Makes a graph ready for launches.
    fn cuGraphInstantiateWithFlags(exec: Out<'_, GraphExec>, graph: Graph, flags: u64) {
        here(|d, _| {
            let new = d.instantiate(graph, flags)?;
            exec.set(new)?;
            DONE
        })
    }

    /// Ends a graph that can be launched; a launch that was issued still runs.
    fn cuGraphExecDestroy(exec: GraphExec) {
        here(|d, _| {
            d.execs.remove(&exec).ok_or(Status::INVALID_HANDLE)?;
            DONE
        })
    }

    /// Issues all nodes, after what is in the stream.
    fn cuGraphLaunch(exec: GraphExec, stream: Stream) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            d.launch_graph(exec, stream)?;
            DONE
        })
    }

    /// Brings a graph to the device before its first launch: here, only the order in the stream.
    fn cuGraphUpload(exec: GraphExec, stream: Stream) {
        here(|d, context| {
            let stream = d.stream(context, stream)?;
            d.execs.get(&exec).ok_or(Status::INVALID_HANDLE)?;
            d.submit(stream, Work::Nothing)?;
            DONE
        })
    }

    /// Takes over parameters from a graph of the same shape.
    fn cuGraphExecUpdate_v2(exec: GraphExec, graph: Graph, result: Out<'_, UpdateResult>) {
        here(|d, _| {
            let found = d.update_graph(exec, graph)?;
            result.set_if_wanted(found);
            if found.result == UPDATED { DONE } else { Err(Status::GRAPH_EXEC_UPDATE_FAILURE) }
        })
    }

    /// A copy of a graph.
    fn cuGraphClone(copy: Out<'_, Graph>, graph: Graph) {
        here(|d, _| {
            let state = d.graphs.get(&graph).ok_or(Status::INVALID_HANDLE)?;
            let (context, mut nodes) = (state.context, state.nodes.clone());
            for node in &mut nodes {
                node.handle = Node::number(d.number());
            }
            let new = Graph::number(d.number());
            d.graphs.insert(new, GraphState { context, nodes });
            copy.set(new)?;
            DONE
        })
    }

    /// The handles of a graph's nodes: as many as there is room for, or their number.
    fn cuGraphGetNodes(graph: Graph, nodes: super::abi::OutArray<'_, Node>, count: super::abi::InOut<'_, usize>) {
        here(|d, _| {
            let state = d.graphs.get(&graph).ok_or(Status::INVALID_HANDLE)?;
            let all: Vec<Node> = state.nodes.iter().map(|n| n.handle).collect();
            let count = count.get()?;
            *count = nodes.fill(&all, *count);
            DONE
        })
    }

    /// Kind of a node: `CUgraphNodeType`.
    fn cuGraphNodeGetType(node: Node, kind: Out<'_, i32>) {
        here(|d, _| {
            let mut all = d.graphs.values().flat_map(|g| &g.nodes);
            let found = all.find(|n| n.handle == node).ok_or(Status::INVALID_HANDLE)?;
            kind.set(found.work.node_type())?;
            DONE
        })
    }
}
