using CsCheck;
using OrleansCluster.Api;

namespace OrleansCluster.Storage.Tests.Cache;

/// <summary>The persistent tree against a sorted dictionary.</summary>
public sealed class ObjectTreeTests
{
    private static CachedObject Obj(SortKey key, long revision = 1) =>
        new(new ObjectKey("pods", key.Namespace, key.Name), revision, [], 0, "", null, false, [], [], []);

    private static SortKey Key(int n) => new($"ns{n % 5}", $"name-{n}");

    [Fact]
    public void Random_batches_give_what_a_sorted_dictionary_gives_and_leave_earlier_snapshots_alone()
    {
        // Each batch: a spread (few or many keys) and the operations; even numbers set, odd ones remove.
        var batch = Gen.Select(Gen.Int[1, 2000], Gen.Int[0, int.MaxValue].Array[0, 400]);
        batch.Array[1, 12].Sample(
            batches =>
            {
                var model = new SortedDictionary<SortKey, CachedObject>();
                var tree = ObjectTree.Empty;
                var snapshots = new List<(ObjectTree Tree, CachedObject[] Expected)>();
                foreach (var (spread, operations) in batches)
                {
                    var builder = tree.ToBuilder();
                    foreach (var operation in operations)
                    {
                        var key = Key((operation >> 1) % spread);
                        if ((operation & 1) == 0)
                        {
                            builder.Set(model[key] = Obj(key));
                        }
                        else
                        {
                            Assert.Equal(model.Remove(key), builder.Remove(key));
                        }
                        Assert.Same(model.GetValueOrDefault(key), builder.Find(key));
                    }
                    tree = builder.ToTree();
                    tree.Verify();
                    snapshots.Add((tree, [.. model.Values]));
                }
                foreach (var (snapshot, expected) in snapshots)
                {
                    snapshot.Verify();
                    Assert.Equal(expected.Length, snapshot.Count);
                    Assert.Equal(expected, snapshot.From(default, inclusive: true).ToArray());
                    foreach (var obj in expected)
                        Assert.Same(obj, snapshot.Find(SortKey.Of(obj)));
                    for (var n = 0; n < 40; n++)
                    {
                        var from = Key(n * 53);
                        Assert.Equal(expected.Where(o => SortKey.Of(o).CompareTo(from) >= 0), snapshot.From(from, inclusive: true));
                        Assert.Equal(expected.Where(o => SortKey.Of(o).CompareTo(from) > 0), snapshot.From(from, inclusive: false));
                    }
                }
            },
            iter: 150, threads: 2);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(48)]
    [InlineData(49)]
    [InlineData(5000)]
    public void Load_SortsAndCanBeChanged(int count)
    {
        var random = new Random(count);
        CachedObject[] objects = [.. Enumerable.Range(0, count).Select(n => Obj(Key(n)))];
        random.Shuffle(objects);
        var tree = ObjectTree.Load([.. objects]);
        tree.Verify();
        Assert.Equal(objects.OrderBy(SortKey.Of), tree.From(default, inclusive: true));

        var builder = tree.ToBuilder();
        foreach (var obj in objects)
            Assert.True(builder.Remove(SortKey.Of(obj)));
        Assert.Equal(0, builder.ToTree().Count);
        Assert.Equal(count, tree.Count);
        tree.Verify();
    }

    [Fact]
    public void Rising_keys_fill_their_nodes()
    {
        var builder = ObjectTree.Empty.ToBuilder();
        for (var n = 0; n < 10_000; n++)
            builder.Set(Obj(new SortKey("ns", $"name-{n:d6}")));
        var tree = builder.ToTree();
        tree.Verify();
        Assert.Equal(10_000, tree.Count);
    }

    [Fact]
    public void Order_is_by_namespace_then_name_bytewise()
    {
        SortKey[] keys = [new("", "z"), new("a", "b"), new("a", "ba"), new("a-b", "a"), new("a-b", "a-1"), new("a-b", "a.1"), new("ab", "1")];
        var tree = ObjectTree.Load([.. keys.Reverse().Select(k => Obj(k))]);
        Assert.Equal(keys, tree.From(default, inclusive: true).Select(SortKey.Of));
    }
}
