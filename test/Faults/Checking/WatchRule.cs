using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Checking;

/// <summary>What a follower of a resource is promised: every change once, in order, through broken streams and other servers, and no going back.</summary>
internal sealed class WatchRule(ResourceLog log, Verdict verdict)
{
    public void Run()
    {
        foreach (var observer in log.Observers)
            Check(observer);
    }

    private void Check(Observer observer)
    {
        long last = 0;
        var present = new HashSet<string>(StringComparer.Ordinal);
        // In the order of revisions; what this observer has to see.
        var entries = log.Entries.Where(e => observer.Sees(e.Key)).ToList();
        foreach (var step in observer.Steps)
        {
            if (step.List is { } list)
            {
                if (list.ListRevision < last)
                    verdict.Add(Rule.List, $"{observer} had seen revision {last} and was then given {list}");
                last = list.ListRevision;
                present = [.. list.Items.Select(i => i.Key)];
            }
            else if (step.Stream is { } stream)
            {
                last = Check(observer, stream, entries, present, last);
            }
        }
        if (observer.Goal > 0 && Undelivered(entries, last, observer.Goal) is { } never)
            verdict.Add(Rule.WatchGap, $"{observer} stopped at revision {last}, and when all was quiet at {observer.Goal} it had still not got {never}");
    }

    private long Check(Observer observer, WatchStream stream, List<Entry> entries, HashSet<string> present, long last)
    {
        foreach (var e in stream.Events)
        {
            var where = $"{observer} via {stream.Endpoint} from {stream.From}, after {last}:";
            if (e.Type == WatchEventType.Bookmark)
            {
                if (e.Revision < last)
                    verdict.Add(Rule.WatchOrder, $"{where} a bookmark of {e.Revision}");
                else if (e.Revision - last <= ResourceLog.EpochGap && Undelivered(entries, last, e.Revision) is { } missing)
                    verdict.Add(Rule.BookmarkAhead, $"{where} a bookmark of {e.Revision} without {missing}");
                last = Math.Max(last, e.Revision);
                continue;
            }
            if (e.Revision <= last)
            {
                verdict.Add(Rule.WatchOrder, $"{where} {e.Type} of {e.Object} again or late");
                continue;
            }
            if (e.Revision - last > ResourceLog.EpochGap && last > 0)
                verdict.Add(Rule.WatchGap, $"{where} {e.Type} of {e.Object}: into another epoch without a 410");
            else if (Undelivered(entries, last, e.Revision - 1) is { } skipped)
                verdict.Add(Rule.WatchGap, $"{where} {e.Type} of {e.Object} without {skipped}");
            else if (observer.Namespace.Length == 0 && e.Revision != last + 1)
                verdict.Add(Rule.WatchGap, $"{where} {e.Type} of {e.Object}: {e.Revision - last - 1} revisions were left out");
            CheckType(where, e, present);
            last = e.Revision;
        }
        return last;
    }

    private void CheckType(string where, WatchEvent e, HashSet<string> present)
    {
        var key = e.Object!.Key;
        var right = e.Type == WatchEventType.Added ? present.Add(key) : present.Contains(key);
        if (!right)
            verdict.Add(Rule.WatchOrder, $"{where} {e.Type} of {e.Object}, which was {(e.Type == WatchEventType.Added ? "there already" : "not there")}");
        if (e.Type == WatchEventType.Deleted)
            present.Remove(key);
        else
            present.Add(key);
    }

    /// <summary>The first known change after one revision and up to another.</summary>
    private static Entry? Undelivered(List<Entry> entries, long after, long through)
    {
        int low = 0, high = entries.Count;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (entries[middle].Revision <= after)
                low = middle + 1;
            else
                high = middle;
        }
        return low < entries.Count && entries[low].Revision <= through ? entries[low] : null;
    }
}
