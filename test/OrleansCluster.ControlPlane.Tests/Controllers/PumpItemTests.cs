using CsCheck;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Controllers;

namespace OrleansCluster.ControlPlane.Tests.Controllers;

/// <summary>The arithmetic of seen and unsettled revisions.</summary>
public sealed class PumpItemTests
{
    private readonly PumpItem _item = new(new ObjectKey("pods", "default", "p"));

    [Fact]
    public void A_run_sees_the_newest_and_leaves_the_oldest_unsettled_until_it_ends()
    {
        _item.Note("pods", 5);
        _item.Note("pods", 9);
        Assert.Equal([new SeenRevision("pods", 9)], _item.TakeSeen());
        Assert.False(_item.IsDirty);
        Assert.Equal([("pods", 5L)], _item.Unsettled());
        _item.Settle();
        Assert.Empty(_item.Unsettled());
    }

    [Fact]
    public void A_change_during_a_run_stays_when_the_run_settles()
    {
        _item.Note("pods", 5);
        _item.TakeSeen();
        _item.Note("pods", 7);
        Assert.True(_item.IsDirty);
        _item.Settle();
        Assert.Equal([("pods", 7L)], _item.Unsettled());
        Assert.Equal([new SeenRevision("pods", 7)], _item.TakeSeen());
    }

    [Fact]
    public void A_failed_run_gives_back_what_it_was_given()
    {
        _item.Note("pods", 5);
        _item.Note("nodes", 3);
        _item.TakeSeen();
        _item.Note("pods", 7);
        _item.Unsettle();
        Assert.Equal([("nodes", 3L), ("pods", 5L)], _item.Unsettled().Order());
        Assert.Equal([new SeenRevision("nodes", 3), new SeenRevision("pods", 7)], _item.TakeSeen().OrderBy(s => s.Resource, StringComparer.Ordinal));
    }

    [Fact]
    public void A_timed_run_sees_nothing_new()
    {
        Assert.Empty(_item.TakeSeen());
        _item.Unsettle();
        Assert.Empty(_item.Unsettled());
    }

    [Fact]
    public void Under_random_operations_the_floor_is_the_oldest_revision_no_settled_run_has_seen() => Gen.Int[0, 3].Array[1, 60].Sample(operations =>
    {
        var item = new PumpItem(new ObjectKey("pods", "default", "p"));
        var revision = 0L;
        List<long> fresh = [], given = [];
        foreach (var operation in operations)
        {
            switch (operation)
            {
                case 0 or 1:
                    item.Note("pods", ++revision);
                    fresh.Add(revision);
                    break;
                case 2:
                    if (given.Count > 0)
                        break; // One run at a time.
                    var seen = item.TakeSeen();
                    Assert.Equal(fresh.Count == 0 ? [] : [new SeenRevision("pods", fresh.Max())], seen);
                    (given, fresh) = (fresh, []);
                    break;
                default:
                    if (revision % 2 == 0)
                    {
                        item.Settle();
                    }
                    else
                    {
                        item.Unsettle();
                        fresh.AddRange(given);
                    }
                    given = [];
                    break;
            }
            var open = fresh.Concat(given).ToList();
            Assert.Equal(open.Count == 0 ? long.MaxValue : open.Min(), item.Unsettled().Select(u => u.Oldest).DefaultIfEmpty(long.MaxValue).Min());
        }
    }, iter: 1000);
}
