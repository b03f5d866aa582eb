namespace OrleansCluster.Storage;

/// <summary>Place in the order of snapshots: namespace, then name, both bytewise.</summary>
internal readonly record struct SortKey(string Namespace, string Name) : IComparable<SortKey>
{
    public int CompareTo(SortKey other)
    {
        // Names are ASCII, where the order of UTF-16 units is that of bytes. Namespaces repeat, so they often are the same string.
        if (!ReferenceEquals(Namespace, other.Namespace))
        {
            var byNamespace = string.CompareOrdinal(Namespace, other.Namespace);
            if (byNamespace != 0)
                return byNamespace;
        }
        return string.CompareOrdinal(Name, other.Name);
    }

    public static SortKey Of(CachedObject obj) => new(obj.Key.Namespace, obj.Key.Name);
}

/// <summary>
/// A persistent sorted map of objects: a B+ tree whose nodes are copied when changed, so a snapshot is a root and costs nothing to hold. A batch of
/// changes copies each node it touches once: nodes made by a batch carry its token and are changed in place until <see cref="Builder.ToTree"/>.
/// <para>
/// Nodes hold at most 64 entries. A node that falls below 16 is joined with a neighbour if both fit into one; if not it stays small, which costs
/// space only. Separators are keys, not objects: an old version of an object would otherwise be kept alive by them. A separator is at most the
/// smallest key of its child and greater than every key of the child before.
/// </para>
/// </summary>
internal sealed class ObjectTree
{
    private const int MaxEntries = 64;
    private const int MinEntries = 16;

    /// <summary>Fill of nodes built from a sorted list: room to grow, without a split at the first insert.</summary>
    private const int LoadEntries = 48;

    private readonly Node? _root;

    private ObjectTree(Node? root, int count)
    {
        _root = root;
        Count = count;
    }

    public static ObjectTree Empty { get; } = new(null, 0);

    public int Count { get; }

    /// <summary>Builds a tree from objects in any order; of equal keys the last in sorting order stays.</summary>
    public static ObjectTree Load(CachedObject[] objects)
    {
        if (objects.Length == 0)
            return Empty;
        Array.Sort(objects, static (x, y) => SortKey.Of(x).CompareTo(SortKey.Of(y)));
        var token = new object();
        List<Node> level = [];
        for (var at = 0; at < objects.Length; at += LoadEntries)
        {
            var leaf = new Leaf(token);
            leaf.Count = Math.Min(LoadEntries, objects.Length - at);
            Array.Copy(objects, at, leaf.Items, 0, leaf.Count);
            level.Add(leaf);
        }
        while (level.Count > 1)
        {
            List<Node> next = [];
            for (var at = 0; at < level.Count; at += LoadEntries)
            {
                var inner = new Inner(token) { Count = Math.Min(LoadEntries, level.Count - at) };
                for (var i = 0; i < inner.Count; i++)
                {
                    inner.Children[i] = level[at + i];
                    inner.Separators[i] = level[at + i].SmallestKey;
                }
                next.Add(inner);
            }
            level = next;
        }
        return new ObjectTree(level[0], objects.Length);
    }

    public CachedObject? Find(SortKey key) => Find(_root, key);

    public Builder ToBuilder() => new(_root, Count);

    /// <summary>Objects from the first key at or after <paramref name="from"/>, or strictly after it.</summary>
    public IEnumerable<CachedObject> From(SortKey from, bool inclusive)
    {
        if (_root is null)
            yield break;
        var path = new Stack<(Inner Node, int Index)>();
        var node = _root;
        while (node is Inner inner)
        {
            var index = inner.ChildFor(from);
            path.Push((inner, index));
            node = inner.Children[index];
        }
        var leaf = (Leaf)node;
        var at = leaf.Search(from);
        at = at < 0 ? ~at : inclusive ? at : at + 1;
        while (true)
        {
            for (; at < leaf.Count; at++)
                yield return leaf.Items[at];
            // Up to the first ancestor with a child further right, then down its left edge.
            while (path.TryPop(out var top))
            {
                if (top.Index + 1 >= top.Node.Count)
                    continue;
                path.Push((top.Node, top.Index + 1));
                node = top.Node.Children[top.Index + 1];
                break;
            }
            if (path.Count == 0)
                yield break;
            while (node is Inner inner)
            {
                path.Push((inner, 0));
                node = inner.Children[0];
            }
            leaf = (Leaf)node;
            at = 0;
        }
    }

    /// <summary>Checks the structure; for tests.</summary>
    internal void Verify()
    {
        var count = 0;
        SortKey? last = null;
        Visit(_root, depth: 0, out _);
        if (count != Count)
            throw new InvalidOperationException($"Count is {Count}, the leaves hold {count}.");

        void Visit(Node? node, int depth, out int height)
        {
            height = 0;
            if (node is null)
                return;
            if (node.Count is 0 or > MaxEntries)
                throw new InvalidOperationException($"A node has {node.Count} entries.");
            if (node is Leaf leaf)
            {
                foreach (var obj in leaf.Items.AsSpan(0, leaf.Count))
                {
                    if (last is { } before && before.CompareTo(SortKey.Of(obj)) >= 0)
                        throw new InvalidOperationException($"{before} stands before {obj}.");
                    last = SortKey.Of(obj);
                    count++;
                }
                if (leaf.Items.Skip(leaf.Count).Any(i => i is not null))
                    throw new InvalidOperationException("A leaf keeps objects alive that it has lost.");
                return;
            }
            var inner = (Inner)node;
            var childHeight = -1;
            for (var i = 0; i < inner.Count; i++)
            {
                if (i > 0 && last is { } before && before.CompareTo(inner.Separators[i]) >= 0)
                    throw new InvalidOperationException("A separator is not greater than its left neighbour's keys.");
                if (i > 0 && inner.Separators[i].CompareTo(inner.Children[i].SmallestKey) > 0)
                    throw new InvalidOperationException("A separator is greater than its child's smallest key.");
                Visit(inner.Children[i], depth + 1, out var h);
                if (childHeight >= 0 && h != childHeight)
                    throw new InvalidOperationException("Leaves stand at different depths.");
                childHeight = h;
            }
            height = childHeight + 1;
        }
    }

    private static CachedObject? Find(Node? node, SortKey key)
    {
        while (node is Inner inner)
            node = inner.Children[inner.ChildFor(key)];
        if (node is not Leaf leaf)
            return null;
        var at = leaf.Search(key);
        return at < 0 ? null : leaf.Items[at];
    }

    /// <summary>Changes a tree in a batch. One batch, one thread.</summary>
    internal sealed class Builder
    {
        private object _token = new();
        private Node? _root;

        internal Builder(Node? root, int count)
        {
            _root = root;
            Count = count;
        }

        public int Count { get; private set; }

        public CachedObject? Find(SortKey key) => ObjectTree.Find(_root, key);

        /// <summary>Adds an object or replaces the one with its key.</summary>
        public void Set(CachedObject obj)
        {
            _root ??= new Leaf(_token);
            _root = _root.Own(_token);
            var split = Insert(_root, SortKey.Of(obj), obj);
            if (split is null)
                return;
            var root = new Inner(_token) { Count = 2 };
            root.Children[0] = _root;
            root.Separators[0] = _root.SmallestKey;
            root.Children[1] = split;
            root.Separators[1] = split.SmallestKey;
            _root = root;
        }

        /// <summary>Removes a key; false if it was absent.</summary>
        public bool Remove(SortKey key)
        {
            if (Find(key) is null)
                return false;
            _root = _root!.Own(_token);
            Delete(_root, key);
            Count--;
            while (_root is Inner { Count: 1 } inner)
                _root = inner.Children[0];
            if (_root.Count == 0)
                _root = null;
            return true;
        }

        /// <summary>The tree as it is now. Later changes of this builder copy again.</summary>
        public ObjectTree ToTree()
        {
            _token = new object();
            return Count == 0 ? Empty : new ObjectTree(_root, Count);
        }

        /// <summary>The node is owned. Returns the new right neighbour if it was split.</summary>
        private Node? Insert(Node node, SortKey key, CachedObject obj)
        {
            if (node is Leaf leaf)
            {
                var at = leaf.Search(key);
                if (at >= 0)
                {
                    leaf.Items[at] = obj;
                    return null;
                }
                Count++;
                if (leaf.Count < MaxEntries)
                {
                    leaf.InsertAt(~at, obj);
                    return null;
                }
                var right = leaf.Split(_token, appending: ~at == MaxEntries);
                if (~at <= leaf.Count && right.Count > 0)
                    leaf.InsertAt(~at, obj);
                else
                    right.InsertAt(~at - leaf.Count, obj);
                return right;
            }

            var inner = (Inner)node;
            var index = inner.ChildFor(key);
            var child = inner.Children[index] = inner.Children[index].Own(_token);
            if (Insert(child, key, obj) is not { } newChild)
                return null;
            if (inner.Count < MaxEntries)
            {
                inner.InsertAt(index + 1, newChild);
                return null;
            }
            var rightInner = inner.Split(_token);
            if (index + 1 <= inner.Count)
                inner.InsertAt(index + 1, newChild);
            else
                rightInner.InsertAt(index + 1 - inner.Count, newChild);
            return rightInner;
        }

        /// <summary>The node is owned and holds the key.</summary>
        private void Delete(Node node, SortKey key)
        {
            if (node is Leaf leaf)
            {
                leaf.RemoveAt(leaf.Search(key));
                return;
            }
            var inner = (Inner)node;
            var index = inner.ChildFor(key);
            var child = inner.Children[index] = inner.Children[index].Own(_token);
            Delete(child, key);
            if (child.Count == 0)
            {
                inner.RemoveAt(index);
                return;
            }
            if (child.Count >= MinEntries || inner.Count == 1)
                return;
            var left = index > 0 ? index - 1 : index;
            if (inner.Children[left].Count + inner.Children[left + 1].Count > LoadEntries)
                return;
            var target = inner.Children[left] = inner.Children[left].Own(_token);
            target.Append(inner.Children[left + 1], inner.Separators[left + 1]);
            inner.RemoveAt(left + 1);
        }
    }

    internal abstract class Node(object token)
    {
        /// <summary>The batch that may change this node in place.</summary>
        protected object Token { get; } = token;

        public int Count { get; set; }

        /// <summary>A key not greater than any in the node.</summary>
        public abstract SortKey SmallestKey { get; }

        /// <summary>This node if the batch made it, else a copy.</summary>
        public abstract Node Own(object token);

        /// <summary>Takes over a right neighbour's entries.</summary>
        public abstract void Append(Node right, SortKey separator);
    }

    internal sealed class Leaf(object token) : Node(token)
    {
        public CachedObject[] Items { get; } = new CachedObject[MaxEntries];

        public override SortKey SmallestKey => SortKey.Of(Items[0]);

        public int Search(SortKey key)
        {
            var low = 0;
            var high = Count - 1;
            while (low <= high)
            {
                var middle = (low + high) >> 1;
                var order = SortKey.Of(Items[middle]).CompareTo(key);
                if (order == 0)
                    return middle;
                if (order < 0)
                    low = middle + 1;
                else
                    high = middle - 1;
            }
            return ~low;
        }

        public override Node Own(object token)
        {
            if (ReferenceEquals(token, Token))
                return this;
            var copy = new Leaf(token) { Count = Count };
            Array.Copy(Items, copy.Items, Count);
            return copy;
        }

        public void InsertAt(int index, CachedObject obj)
        {
            Array.Copy(Items, index, Items, index + 1, Count - index);
            Items[index] = obj;
            Count++;
        }

        public void RemoveAt(int index)
        {
            Count--;
            Array.Copy(Items, index + 1, Items, index, Count - index);
            Items[Count] = null!;
        }

        /// <summary>Moves the upper half to a new node; nothing if the next key goes to the end, so that rising keys fill their nodes.</summary>
        public Leaf Split(object token, bool appending)
        {
            var keep = appending ? Count : Count / 2;
            var right = new Leaf(token) { Count = Count - keep };
            Array.Copy(Items, keep, right.Items, 0, right.Count);
            Array.Clear(Items, keep, Count - keep);
            Count = keep;
            return right;
        }

        public override void Append(Node right, SortKey separator)
        {
            Array.Copy(((Leaf)right).Items, 0, Items, Count, right.Count);
            Count += right.Count;
        }
    }

    internal sealed class Inner(object token) : Node(token)
    {
        public Node[] Children { get; } = new Node[MaxEntries];

        public SortKey[] Separators { get; } = new SortKey[MaxEntries];

        public override SortKey SmallestKey => Separators[0];

        /// <summary>Index of the child whose range holds a key; the first child's range has no lower end.</summary>
        public int ChildFor(SortKey key)
        {
            var low = 1;
            var high = Count - 1;
            while (low <= high)
            {
                var middle = (low + high) >> 1;
                if (Separators[middle].CompareTo(key) <= 0)
                    low = middle + 1;
                else
                    high = middle - 1;
            }
            return low - 1;
        }

        public override Node Own(object token)
        {
            if (ReferenceEquals(token, Token))
                return this;
            var copy = new Inner(token) { Count = Count };
            Array.Copy(Children, copy.Children, Count);
            Array.Copy(Separators, copy.Separators, Count);
            return copy;
        }

        public void InsertAt(int index, Node child)
        {
            Array.Copy(Children, index, Children, index + 1, Count - index);
            Array.Copy(Separators, index, Separators, index + 1, Count - index);
            Children[index] = child;
            Separators[index] = child.SmallestKey;
            Count++;
        }

        public void RemoveAt(int index)
        {
            Count--;
            Array.Copy(Children, index + 1, Children, index, Count - index);
            Array.Copy(Separators, index + 1, Separators, index, Count - index);
            Children[Count] = null!;
            Separators[Count] = default;
        }

        public Inner Split(object token)
        {
            var keep = Count / 2;
            var right = new Inner(token) { Count = Count - keep };
            Array.Copy(Children, keep, right.Children, 0, right.Count);
            Array.Copy(Separators, keep, right.Separators, 0, right.Count);
            Array.Clear(Children, keep, Count - keep);
            Array.Clear(Separators, keep, Count - keep);
            Count = keep;
            return right;
        }

        public override void Append(Node right, SortKey separator)
        {
            var other = (Inner)right;
            Array.Copy(other.Children, 0, Children, Count, other.Count);
            Array.Copy(other.Separators, 0, Separators, Count, other.Count);
            Separators[Count] = separator;
            Count += other.Count;
        }
    }
}
